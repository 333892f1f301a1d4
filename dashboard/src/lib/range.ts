// The span of time that a chart shows, as the address bar has it: either the last so-and-so long, which moves on, or from here to there.

export const RANGES: Record<string, number> = {
  "5m": 300_000,
  "15m": 900_000,
  "1h": 3_600_000,
  "6h": 21_600_000,
  "24h": 86_400_000,
  "7d": 604_800_000,
  "30d": 2_592_000_000,
};
export const DEFAULT = "15m";
const SHORTEST = 1_000;
const LONGEST = 20 * 365 * 86_400_000;

export type Range = { live: true; name: string; length: number } | { live: false; from: number; to: number; length: number };

export interface RangeQuery {
  range?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

/** What an address asks for; nonsense is the default. */
export function parse(query: RangeQuery): Range {
  const from = Date.parse(query.from ?? "");
  const to = Date.parse(query.to ?? "");
  if (Number.isFinite(from) && Number.isFinite(to) && to - from >= SHORTEST) return { live: false, from, to, length: to - from };
  const name = query.range && Object.hasOwn(RANGES, query.range) ? query.range : DEFAULT;
  return { live: true, name, length: RANGES[name] as number };
}

/** The ends of a range at a moment. */
export function ends(range: Range, now: number): { from: number; to: number } {
  return range.live ? { from: now - range.length, to: now } : { from: range.from, to: range.to };
}

/** The address of that span, in either order. */
export function between(from: number, to: number): Required<RangeQuery> {
  const [first, last] = from < to ? [from, to] : [to, from];
  const end = Math.max(last, first + SHORTEST);
  return { range: "", from: new Date(first).toISOString(), to: new Date(end).toISOString() };
}

/** A part of the span, or more than it, around its middle: 0.5 is half of it. What would reach into the future ends now. */
export function zoom(range: Range, factor: number, now: number): Required<RangeQuery> {
  const { from, to } = ends(range, now);
  const length = Math.min(LONGEST, Math.max(SHORTEST, range.length * factor));
  const middle = range.live && factor < 1 ? to - length / 2 : from + (to - from) / 2;
  const end = Math.min(now, middle + length / 2);
  return between(end - length, end);
}

/** As much earlier (negative) or later as a share of the span, but no later than now. */
export function pan(range: Range, share: number, now: number): Required<RangeQuery> {
  const { from, to } = ends(range, now);
  const by = Math.min(range.length * share, Math.max(0, now - to));
  return between(from + by, to + by);
}

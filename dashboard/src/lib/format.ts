// How numbers, times and bytes are written, in the language that is chosen. Pure; the time of now is a parameter.

const cache = new Map<string, Intl.NumberFormat>();

function formatter(locale: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = locale + JSON.stringify(options);
  let found = cache.get(key);
  if (!found) cache.set(key, (found = new Intl.NumberFormat(locale, options)));
  return found;
}

/** A measured value with about four significant digits; – where there is none. */
export function number(locale: string, value: number | null | undefined, digits?: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e9 || size < 1e-4)) return value.toExponential(2);
  const places = digits ?? (size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 4);
  return formatter(locale, { maximumFractionDigits: places }).format(value);
}

/** As {@link number}, but always the same number of places, so that a figure that changes does not jump. */
export function fixed(locale: string, value: number | null | undefined, places: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return formatter(locale, { minimumFractionDigits: places, maximumFractionDigits: places }).format(value);
}

export function integer(locale: string, value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return formatter(locale, { maximumFractionDigits: 0 }).format(value);
}

/** Large counts in short: 12.3K, 4.5M. */
export function compact(locale: string, value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) < 10_000) return integer(locale, value);
  return formatter(locale, { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(locale: string, value: number | null | undefined): [figure: string, unit: string] {
  if (value === null || value === undefined || !Number.isFinite(value)) return ["–", ""];
  let step = 0;
  let left = value;
  while (Math.abs(left) >= 1024 && step < UNITS.length - 1) {
    left /= 1024;
    step += 1;
  }
  return [formatter(locale, { maximumFractionDigits: step === 0 || left >= 100 ? 0 : 1 }).format(left), UNITS[step] as string];
}

/** A value in its unit; bytes become KiB, MiB and so on. */
export function measured(locale: string, value: number | null | undefined, unit: string | null | undefined): [string, string] {
  if (unit === "B" || unit === "B/s") {
    const [figure, of] = bytes(locale, value);
    return [figure, unit === "B/s" ? `${of}/s` : of];
  }
  return [number(locale, value, unit === "%" ? 1 : undefined), shownUnit(unit)];
}

export function shownUnit(unit: string | null | undefined): string {
  if (unit === "C") return "°C";
  if (unit === "F") return "°F";
  return unit ?? "";
}

export interface SpanWords {
  ms: string;
  s: string;
  min: string;
  h: string;
  d: string;
}
const SHORT: SpanWords = { ms: "ms", s: "s", min: "min", h: "h", d: "d" };

/** A length of time in ms, in one unit. */
export function span(locale: string, ms: number | null | undefined, words: SpanWords = SHORT): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  const of = Math.max(0, ms);
  const say = (value: number, word: string, places = 0) => `${fixed(locale, value, places)} ${word}`;
  if (of < 1000) return say(of, words.ms, of < 10 ? 1 : 0);
  if (of < 10_000) return say(of / 1000, words.s, 1);
  if (of < 120_000) return say(Math.floor(of / 1000), words.s);
  if (of < 7_200_000) return say(Math.floor(of / 60_000), words.min);
  if (of < 172_800_000) return say(Math.floor(of / 3_600_000), words.h);
  return say(Math.floor(of / 86_400_000), words.d);
}

/** How long ago, in whole units; a clock that is a little ahead is no time at all. */
export function age(locale: string, ms: number, words: SpanWords = SHORT): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return seconds < 10 ? `${integer(locale, seconds)} ${words.s}` : span(locale, seconds * 1000, words);
}

const clocks = new Map<string, Intl.DateTimeFormat>();

function clock(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = locale + JSON.stringify(options);
  let found = clocks.get(key);
  if (!found) clocks.set(key, (found = new Intl.DateTimeFormat(locale, options)));
  return found;
}

/** The local time of day; with the day where that is not today's. */
export function time(locale: string, at: number, now: number, millis = false): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "–";
  const today = new Date(now).toDateString() === date.toDateString();
  const day: Intl.DateTimeFormatOptions = today ? {} : { month: "short", day: "numeric" };
  const year: Intl.DateTimeFormatOptions = date.getFullYear() === new Date(now).getFullYear() ? {} : { year: "numeric" };
  const fraction: Intl.DateTimeFormatOptions = millis ? { fractionalSecondDigits: 3 } : {};
  const of: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  return clock(locale, { ...of, ...day, ...year, ...fraction }).format(date);
}

/** What is written on a time axis whose span is so long. */
export function tick(locale: string, at: number, length: number): string {
  const date = new Date(at);
  if (length <= 300_000) return clock(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(date);
  if (length <= 129_600_000) return clock(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(date);
  if (date.getHours() === 0 && date.getMinutes() === 0) return clock(locale, { month: "short", day: "numeric" }).format(date);
  if (length <= 700_000_000) return clock(locale, { month: "short", day: "numeric", hour: "2-digit", hourCycle: "h23" }).format(date);
  return clock(locale, { year: length > 2e10 ? "numeric" : undefined, month: "short", day: "numeric" }).format(date);
}

/** Bytes as hex and text, sixteen a line. What has no shape is a dot. */
export function hexdump(data: Uint8Array): { offset: string; hex: string; text: string }[] {
  const lines = [];
  for (let at = 0; at < data.length; at += 16) {
    const part = [...data.subarray(at, at + 16)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0"));
    const text = part.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
    const half = (from: number, to: number) => hex.slice(from, to).join(" ");
    lines.push({ offset: at.toString(16).padStart(4, "0"), hex: `${half(0, 8)}  ${half(8, 16)}`.trimEnd(), text });
  }
  return lines;
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/** A pattern that only that text matches. */
export function literal(text: string): string {
  return text.replace(/[*?[\]{}\\!]/g, "\\$&");
}

// The inside of a sensor in plain words, from what GET /api/sensors/{id}/state tells.
import { clock, int, measured, num, size, span, t, word } from "../i18n";
import type { SensorState, SeriesState } from "./types";

/** What there is to say of the actor itself. */
export function ofActor(state: SensorState): string[] {
  const lines = [word("mode", state.mode)];
  lines.push(t("inside.mailbox", { n: int(state.mailbox), bytes: size(state.memory_bytes) }));
  lines.push(state.restarts + state.crashes === 0 ? t("inside.never") : t("inside.restarts", { restarts: int(state.restarts), crashes: int(state.crashes) }));
  return lines;
}

/** What there is to say of one of its series. */
export function ofSeries(series: SeriesState, unit: string | null): string[] {
  const value = (of: number) => measured(of, unit).join(" ").trim();
  const lines = [
    t("inside.newest", { value: value(series.newest_value), time: clock(series.newest_time), late: clock(series.watermark) }),
    t(series.forgot ? "inside.ring_full" : "inside.ring", { n: int(series.remembered), ring: int(series.ring) }),
  ];
  for (const windows of series.windows) {
    for (const [kind, spec] of Object.entries(windows.spec)) {
      lines.push(t("inside.windows", { kind: word("window", kind), size: span(spec.size / 1000), open: int(windows.open.length) }));
    }
  }
  if (series.detectors.length === 0) lines.push(t("inside.no_detector"));
  for (const detector of series.detectors) {
    for (const [kind, spec] of Object.entries(detector.spec)) lines.push(ofDetector(kind, spec, detector.state[kind] ?? {}, value));
  }
  return lines;
}

function ofDetector(kind: string, spec: Record<string, number>, state: Record<string, unknown>, value: (of: number) => string): string {
  if (kind === "jump") {
    const previous = state.previous;
    const limit = value(spec.threshold ?? 0);
    return typeof previous === "number" ? t("inside.jump", { limit, previous: value(previous) }) : t("inside.jump_first", { limit });
  }
  if (kind === "threshold") {
    const marks = { limit: value(spec.above ?? 0), error: value(Number(state.error_above)), critical: value(Number(state.critical_above)) };
    const raised = state.raised;
    return `${t("inside.threshold", marks)} ${typeof raised === "string" ? t("inside.raised", { level: word("level", raised) }) : t("inside.quiet")}`;
  }
  if (kind === "silence") {
    return `${t("inside.silence", { after: span((spec.after ?? 0) / 1000) })} ${t(state.silent === true ? "inside.silent" : "inside.heard")}`;
  }
  const facts = Object.entries(spec).map(([name, figure]) => `${name} ${num(figure)}`);
  return `${word("detector", kind)}: ${facts.join(", ")}`;
}

export interface Limit {
  value: number;
  label: string;
}

/** Where the detectors of a series draw their lines at this moment: above or beyond them a value is an anomaly. */
export function limits(series: SeriesState | undefined): Limit[] {
  const lines: Limit[] = [];
  for (const detector of series?.detectors ?? []) {
    const threshold = detector.spec.threshold;
    if (threshold?.above !== undefined) lines.push({ value: threshold.above, label: word("detector", "threshold") });
  }
  return lines;
}

/** Between which values the next reading is expected, if the detectors say so. */
export function expected(series: SeriesState | undefined): { low: number; high: number } | null {
  for (const detector of series?.detectors ?? []) {
    const jump = detector.spec.jump;
    const previous = detector.state.jump?.previous;
    if (jump?.threshold !== undefined && typeof previous === "number") return { low: previous - jump.threshold, high: previous + jump.threshold };
  }
  return null;
}

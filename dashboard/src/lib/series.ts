// A series of the service as the lines of a chart: its past in as many points as there is room for, then what comes.
import { get, query, sensorPath } from "./api";
import { Ring } from "./ring";
import type { Envelope } from "./types";

/** Reads the past of a series into a ring whose buckets are the service's. */
export async function past(
  sensor: string,
  metric: string,
  range: { from: string; to?: string },
  points: number,
  signal?: AbortSignal,
): Promise<{ ring: Ring; unit: string | null; step: number }> {
  const path = query(sensorPath(sensor, "envelope"), { metric, from: range.from, to: range.to, points });
  const answer = await get<Envelope>(path, signal);
  const step = answer.step_seconds * 1000;
  // With room for what comes until the page is asked to read again.
  const ring = new Ring(points * 2 + 16, step);
  for (const point of answer.data) ring.push(Date.parse(point.time), point.mean, point.min, point.max, point.count);
  return { ring, unit: answer.unit, step };
}

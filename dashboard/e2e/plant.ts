// A plant for the pictures: some hours of its past, and then a reading a second from each of its sensors.
import type { Service } from "./service";

const HALLS = ["casting", "cold-store", "compressors", "packing", "paint", "press"];
const KINDS = [
  { metric: "temperature", unit: "C", base: 42, swing: 9, noise: 0.5 },
  { metric: "pressure", unit: "bar", base: 6.2, swing: 0.5, noise: 0.05 },
  { metric: "vibration", unit: "mm/s", base: 2.4, swing: 0.7, noise: 0.25 },
  { metric: "flow", unit: "l/min", base: 118, swing: 22, noise: 2.5 },
];
const PAST_H = 2;
const STEP_S = 30;
const SILENT = 9;

interface Device {
  id: string;
  hall: string;
  metric: string;
  unit: string;
  value: (at: number) => number;
}

/** Chance that is the same each time. */
function noise(seed: number): number {
  const x = Math.sin(seed * 12.9898) * 43758.5453;
  return (x - Math.floor(x)) * 2 - 1;
}

export const CONFIG = `
[[series]]
match = { metric = "temperature" }
detectors = [{ kind = "threshold", above = 56.0 }, { kind = "jump", threshold = 12.0 }]
[[series]]
match = { metric = "vibration" }
detectors = [{ kind = "jump", threshold = 3.0 }]
[[rules]]
name = "too hot"
match = { metric = "temperature" }
condition = { above = 50.0, clear_below = 48.0 }
level = { warning = 1.0, error = 1.06 }
[[rules]]
name = "shaking"
match = { metric = "vibration" }
condition = { detector = "jump" }
`;

export const BOILER = "casting-furnace-03";

export function devices(count = 132): Device[] {
  return Array.from({ length: count }, (_, at) => {
    const hall = HALLS[at % HALLS.length] as string;
    const kind = KINDS[Math.floor(at / HALLS.length) % KINDS.length]!;
    const number = String(Math.floor(at / HALLS.length) + 1).padStart(2, "0");
    const id = at === 12 ? BOILER : `${hall}-${kind.metric.slice(0, 4)}-${number}`;
    const metric = at === 12 ? "temperature" : kind.metric;
    const of = at === 12 ? KINDS[0]! : kind;
    const phase = at * 0.7;
    const value = (time: number) => {
      const minutes = time / 60_000;
      const slow = Math.sin(minutes / 37 + phase) * of.swing * 0.6 + Math.sin(minutes / 11 + phase * 3) * of.swing * 0.3;
      const spike = at % 17 === 5 && Math.floor(minutes) % 47 === at % 47 ? of.swing * 2.2 : 0;
      const hot = at === 12 && minutes % 90 > 83 ? 11 : 0;
      return of.base + slow + spike + hot + noise(time / 1000 + at * 1000) * of.noise;
    };
    return { id, hall, metric, unit: of.unit, value };
  });
}

function reading(device: Device, time: number): object {
  const value = Math.round(device.value(time) * 1000) / 1000;
  return { sensor_id: device.id, metric: device.metric, value, unit: device.unit, timestamp: Math.round(time), tags: { hall: device.hall } };
}

export async function furnish(service: Service, of: Device[]): Promise<void> {
  const now = Date.now();
  for (let at = now - PAST_H * 3_600_000; at < now; at += STEP_S * 1000 * 4) {
    const batch = [];
    for (let step = 0; step < 4; step += 1) {
      const time = at + step * STEP_S * 1000;
      // Half an hour in which the plant had no power.
      if (time > now - 70 * 60_000 && time < now - 58 * 60_000) continue;
      for (const device of of) if (time < now) batch.push(reading(device, time));
    }
    if (batch.length > 0) await service.send(batch);
  }
}

/** Sends a reading of each device a second, until the function returned is called. */
export function run(service: Service, of: Device[]): () => void {
  const timer = setInterval(() => {
    const now = Date.now();
    void service.send(of.filter((_, at) => at % 40 !== SILENT).map((device) => reading(device, now))).catch(() => {});
  }, 1000);
  return () => clearInterval(timer);
}

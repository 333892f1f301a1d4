// All sensors as columns: what each is called, how it is, how strange it is, when it was heard. A hundred thousand of them are a few
// typed arrays; a change touches the ones it names.
import type { Mode } from "./types";

export const MODES: Mode[] = ["running", "catching_up", "backing_off", "paused", "quarantined", "passive"];
const SILENT = 8;
const ANOMALOUS = 16;

/** What is shown of a cell: the gravest that holds. */
export type Look = "quarantined" | "backing_off" | "anomalous" | "catching_up" | "paused" | "silent" | "running" | "passive";
/** Gravest first: the order of legends, and of lists by state. */
export const LOOKS: Look[] = ["quarantined", "backing_off", "anomalous", "catching_up", "paused", "silent", "running", "passive"];

const PLACE = Object.fromEntries(LOOKS.map((look, place) => [look, place])) as Record<Look, number>;

export interface CellNames {
  names: number;
  at: number;
  number: number[];
  sensor_id: string[];
  groups?: string[];
  group?: number[];
  state: number[];
  score: number[];
  heard: number[];
}
export interface CellChanges {
  at: number;
  number: number[];
  state: number[];
  score: number[];
  heard: number[];
}

export class Cells {
  readonly names: string[];
  readonly groups: string[];
  /** Index into groups; -1 without one. */
  readonly group: Int32Array;
  readonly state: Uint8Array;
  readonly score: Uint8Array;
  /** Unix seconds; 0 is never. */
  readonly heard: Float64Array;
  private readonly index = new Map<number, number>();

  constructor(of: CellNames) {
    this.names = of.sensor_id;
    this.groups = of.groups ?? [];
    this.group = of.group ? Int32Array.from(of.group) : new Int32Array(of.number.length).fill(-1);
    this.state = Uint8Array.from(of.state);
    this.score = Uint8Array.from(of.score);
    this.heard = Float64Array.from(of.heard, (ago) => (ago < 0 ? 0 : of.at - ago));
    of.number.forEach((number, index) => this.index.set(number, index));
  }

  get length(): number {
    return this.names.length;
  }

  /** Takes changes in. Returns whether there were sensors among them that are not known. */
  apply(changes: CellChanges): boolean {
    let strange = false;
    changes.number.forEach((number, at) => {
      const index = this.index.get(number);
      if (index === undefined) {
        strange = true;
        return;
      }
      this.state[index] = changes.state[at] ?? 0;
      this.score[index] = changes.score[at] ?? 0;
      const ago = changes.heard[at] ?? -1;
      if (ago >= 0) this.heard[index] = changes.at - ago;
    });
    return strange;
  }

  mode(index: number): Mode {
    return MODES[(this.state[index] as number) & 7] ?? "running";
  }

  look(index: number): Look {
    const state = this.state[index] as number;
    const mode = MODES[state & 7] ?? "running";
    if (mode === "quarantined" || mode === "backing_off") return mode;
    if (state & ANOMALOUS) return "anomalous";
    if (mode === "catching_up" || mode === "paused") return mode;
    if (state & SILENT) return "silent";
    return mode;
  }

  /** The look of each, as its place in {@link LOOKS}. */
  looks(): Uint8Array {
    const looks = new Uint8Array(this.length);
    for (let index = 0; index < looks.length; index += 1) looks[index] = PLACE[this.look(index)];
    return looks;
  }

  /** How many there are of each look. */
  counts(): Record<Look, number> {
    const counts = Object.fromEntries(LOOKS.map((look) => [look, 0])) as Record<Look, number>;
    for (let index = 0; index < this.length; index += 1) counts[this.look(index)] += 1;
    return counts;
  }

  /** The `most` sensors with the highest scores, highest first. */
  top(most: number): number[] {
    const found: number[] = [];
    for (let index = 0; index < this.length; index += 1) {
      const score = this.score[index] as number;
      if (score === 0) continue;
      if (found.length === most && score <= (this.score[found[most - 1] as number] as number)) continue;
      let at = found.length;
      while (at > 0 && (this.score[found[at - 1] as number] as number) < score) at -= 1;
      found.splice(at, 0, index);
      if (found.length > most) found.pop();
    }
    return found;
  }
}

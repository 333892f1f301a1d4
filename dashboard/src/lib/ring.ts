// A window of time over one series: buckets of (time, min, max, mean) in typed arrays of fixed length, the oldest overwritten.
//
// Invariants: times grow. What comes for the newest bucket is merged into it, what is older is left to the next reading of the
// stored history. Nothing is allocated while values come in.

export class Ring {
  private readonly time: Float64Array;
  private readonly low: Float64Array;
  private readonly high: Float64Array;
  private readonly sum: Float64Array;
  private readonly weight: Float64Array;
  private head = 0;
  private used = 0;

  constructor(
    readonly capacity: number,
    /** Length of a bucket in ms; 0 keeps every value apart. */
    readonly step = 0,
  ) {
    this.time = new Float64Array(capacity);
    this.low = new Float64Array(capacity);
    this.high = new Float64Array(capacity);
    this.sum = new Float64Array(capacity);
    this.weight = new Float64Array(capacity);
  }

  get length(): number {
    return this.used;
  }

  clear(): void {
    this.head = 0;
    this.used = 0;
  }

  /** Takes one value, or a bucket with its extremes. Returns whether it changed anything. */
  push(time: number, mean: number, min = mean, max = mean, count = 1): boolean {
    if (!Number.isFinite(time) || !Number.isFinite(mean)) return false;
    const at = this.step > 0 ? Math.floor(time / this.step) * this.step : time;
    const newest = this.used > 0 ? (this.time[this.slot(this.used - 1)] as number) : -Infinity;
    if (at < newest) return false;
    if (at === newest) {
      if (this.step === 0) return false;
      const slot = this.slot(this.used - 1);
      this.low[slot] = Math.min(this.low[slot] as number, min);
      this.high[slot] = Math.max(this.high[slot] as number, max);
      this.sum[slot] = (this.sum[slot] as number) + mean * count;
      this.weight[slot] = (this.weight[slot] as number) + count;
      return true;
    }
    if (this.used === this.capacity) this.head = (this.head + 1) % this.capacity;
    else this.used += 1;
    const slot = this.slot(this.used - 1);
    this.time[slot] = at;
    this.low[slot] = min;
    this.high[slot] = max;
    this.sum[slot] = mean * count;
    this.weight[slot] = count;
    return true;
  }

  /** Forgets what is before `time`. */
  trim(time: number): void {
    while (this.used > 0 && (this.time[this.head] as number) < time) {
      this.head = (this.head + 1) % this.capacity;
      this.used -= 1;
    }
  }

  timeAt(index: number): number {
    return this.time[this.slot(index)] as number;
  }
  minAt(index: number): number {
    return this.low[this.slot(index)] as number;
  }
  maxAt(index: number): number {
    return this.high[this.slot(index)] as number;
  }
  meanAt(index: number): number {
    const slot = this.slot(index);
    return (this.sum[slot] as number) / (this.weight[slot] as number);
  }

  /** The rows of a chart, with a row of nothing wherever the time between two is longer than `gap`. */
  rows(gap = this.usualGap()): Rows {
    const rows: Rows = { mean: [], min: [], spread: [] };
    let before = NaN;
    for (let index = 0; index < this.used; index += 1) {
      const time = this.timeAt(index);
      if (time - before > gap) {
        const middle = before + (time - before) / 2;
        rows.mean.push([middle, null]);
        rows.min.push([middle, null]);
        rows.spread.push([middle, null]);
      }
      rows.mean.push([time, this.meanAt(index)]);
      rows.min.push([time, this.minAt(index)]);
      rows.spread.push([time, this.maxAt(index) - this.minAt(index)]);
      before = time;
    }
    return rows;
  }

  /** Three times what usually lies between two values: longer than that is a gap. */
  usualGap(): number {
    if (this.used < 3) return Infinity;
    const between: number[] = [];
    for (let index = 1; index < this.used; index += 1) between.push(this.timeAt(index) - this.timeAt(index - 1));
    between.sort((a, b) => a - b);
    return 3 * Math.max(between[Math.floor(between.length / 2)] as number, this.step);
  }

  private slot(index: number): number {
    return (this.head + index) % this.capacity;
  }
}

export type Cell = [time: number, value: number | null];
export interface Rows {
  mean: Cell[];
  min: Cell[];
  /** Max − min, to be stacked on min. */
  spread: Cell[];
}

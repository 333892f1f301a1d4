// When to try again, and how late what is shown is. Pure: time and chance are parameters.

const FIRST_MS = 250;
const LONGEST_MS = 10_000;

/**
 * How long to wait before attempt number `attempt` (0 is the first after a loss). `random` is in [0, 1): full jitter over an
 * exponential back-off, so that a thousand dashboards do not return in one moment.
 */
export function retryDelay(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(FIRST_MS / 2 + random * ceiling);
}

/**
 * How late the service's messages come. Its clock and the browser's may differ; the smallest difference ever seen is taken for
 * that, and whatever is more for delay.
 */
export class Lag {
  private smallest = Infinity;
  private delay = 0;
  private heardAt = -Infinity;

  /** A message that left at `serverTime` came at `now`. */
  heard(serverTime: number, now: number): void {
    const difference = now - serverTime;
    this.smallest = Math.min(this.smallest, difference);
    this.delay = difference - this.smallest;
    this.heardAt = now;
  }

  /** By how much the browser's clock is ahead; 0 before anything was heard. */
  get skew(): number {
    return Number.isFinite(this.smallest) ? this.smallest : 0;
  }

  /** In ms. What should have come every `period` ms and has not counts, too. */
  at(now: number, period: number): number {
    if (this.heardAt === -Infinity) return 0;
    return Math.max(this.delay, now - this.heardAt - period, 0);
  }

  /** A clock that was set meanwhile, or a machine that slept, is no delay. */
  forget(): void {
    this.smallest = Infinity;
    this.delay = 0;
    this.heardAt = -Infinity;
  }
}

// When to try again: full jitter over an exponential back-off, so that a thousand dashboards do not return in one moment.

const FIRST_MS = 250;
const LONGEST_MS = 10_000;

/** How long to wait before attempt number `attempt` (0 is the first after a loss). `random` is in [0, 1). */
export function retryDelay(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(FIRST_MS / 2 + random * ceiling);
}

/**
 * How late what is shown is. The clocks of the browser and of the service may differ; the smallest difference ever seen between
 * them is taken for that, and whatever is more for delay.
 */
export class Lag {
  private offset = Infinity;
  private delay = 0;
  private heardAt = -Infinity;

  heard(serverTime: number, now: number): void {
    const difference = now - serverTime;
    this.offset = Math.min(this.offset, difference);
    this.delay = difference - this.offset;
    this.heardAt = now;
  }

  /** In ms. What should have come by now and has not counts, too. */
  at(now: number, period: number): number {
    if (this.heardAt === -Infinity) return 0;
    return Math.max(this.delay, now - this.heardAt - period * 1.2, 0);
  }
}

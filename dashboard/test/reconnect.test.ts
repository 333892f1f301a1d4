import { describe, expect, it } from "vitest";
import { Lag, retryDelay } from "../src/lib/reconnect";

describe("reconnect", () => {
  it("waits longer and longer, but never too long", () => {
    const longest = Array.from({ length: 40 }, (_, attempt) => retryDelay(attempt, 0.999999));
    expect(longest[0]).toBeLessThanOrEqual(375);
    for (let at = 1; at < longest.length; at += 1) expect(longest[at]!).toBeGreaterThanOrEqual(longest[at - 1]!);
    expect(longest.at(-1)!).toBeLessThanOrEqual(10_125);
  });

  it("is spread by chance, and never hammers", () => {
    for (const attempt of [0, 3, 30]) {
      expect(retryDelay(attempt, 0)).toBe(125);
      expect(retryDelay(attempt, 0.5)).toBeGreaterThan(retryDelay(attempt, 0.1));
    }
  });
});

describe("lag", () => {
  it("takes the difference of the clocks for no delay", () => {
    const lag = new Lag();
    lag.heard(1_000_000, 1_000_000 + 90_000);
    lag.heard(1_005_000, 1_005_000 + 90_020);
    expect(lag.skew).toBe(90_000);
    expect(lag.at(1_095_020, 5_000)).toBe(20);
  });

  it("grows while nothing comes", () => {
    const lag = new Lag();
    lag.heard(0, 0);
    expect(lag.at(5_000, 5_000)).toBe(0);
    expect(lag.at(9_000, 5_000)).toBe(4_000);
    lag.forget();
    expect(lag.at(9_000, 5_000)).toBe(0);
    expect(lag.skew).toBe(0);
  });
});

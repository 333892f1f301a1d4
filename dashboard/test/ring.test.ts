import { describe, expect, it } from "vitest";
import { Ring } from "../src/lib/ring";

describe("ring", () => {
  it("keeps the newest of what it has room for, in order", () => {
    const ring = new Ring(3);
    for (let at = 1; at <= 5; at += 1) expect(ring.push(at, at * 10)).toBe(true);
    expect(ring.rows(Infinity).mean).toEqual([[3, 30], [4, 40], [5, 50]]);
  });

  it("takes neither what is older nor what is no number", () => {
    const ring = new Ring(4);
    ring.push(10, 1);
    expect(ring.push(9, 2)).toBe(false);
    expect(ring.push(10, 2)).toBe(false);
    expect(ring.push(11, NaN)).toBe(false);
    expect(ring.push(NaN, 1)).toBe(false);
    expect(ring.push(12, Infinity)).toBe(false);
    expect(ring.rows(Infinity).mean).toEqual([[10, 1]]);
  });

  it("adds up what falls into one bucket, and keeps its extremes", () => {
    const ring = new Ring(4, 1000);
    ring.push(1000, 10, 5, 15, 3);
    ring.push(1999, 30);
    ring.push(2500, 7);
    const rows = ring.rows(Infinity);
    expect(rows.mean).toEqual([[1000, 15], [2000, 7]]);
    expect(rows.min).toEqual([[1000, 5], [2000, 7]]);
    expect(rows.spread).toEqual([[1000, 25], [2000, 0]]);
  });

  it("shows a gap as one", () => {
    const ring = new Ring(16, 1000);
    for (const at of [0, 1000, 2000, 9000, 10_000]) ring.push(at, 1);
    const { mean } = ring.rows();
    expect(mean.map(([, value]) => value)).toEqual([1, 1, 1, null, 1, 1]);
    expect(mean[3]?.[0]).toBe(5500);
  });

  it("does not take a slow sensor for one with gaps", () => {
    const ring = new Ring(16, 1000);
    for (const at of [0, 60_000, 121_000, 180_000]) ring.push(at, 1);
    expect(ring.rows().mean.every(([, value]) => value !== null)).toBe(true);
  });

  it("forgets what is before a time", () => {
    const ring = new Ring(4);
    for (const at of [1, 2, 3, 4, 5]) ring.push(at, at);
    ring.trim(4);
    expect(ring.rows(Infinity).mean).toEqual([[4, 4], [5, 5]]);
    ring.push(6, 6);
    expect(ring.length).toBe(3);
  });
});

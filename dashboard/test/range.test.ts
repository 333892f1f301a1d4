import { describe, expect, it } from "vitest";
import * as range from "../src/lib/range";

const NOW = Date.parse("2026-05-01T12:00:00Z");
const of = (from: string, to: string) => range.parse({ from: `2026-05-01T${from}Z`, to: `2026-05-01T${to}Z` });

describe("range", () => {
  it("is what the address says, else the default", () => {
    expect(range.parse({ range: "1h" })).toEqual({ live: true, name: "1h", length: 3_600_000 });
    expect(of("10:00:00", "11:00:00")).toMatchObject({ live: false, length: 3_600_000 });
    for (const nonsense of [{ range: "constructor" }, { from: "x", to: "y" }, { from: "2026-05-01T12:00:00Z", to: "2026-05-01T11:00:00Z" }, {}]) {
      expect(range.parse(nonsense)).toMatchObject({ live: true, name: range.DEFAULT });
    }
  });

  it("survives the address bar", () => {
    const query = range.between(NOW, NOW - 60_000);
    expect(range.ends(range.parse(query), 0)).toEqual({ from: NOW - 60_000, to: NOW });
  });

  it("is zoomed around its middle, live ones to their end, and never into the future", () => {
    expect(range.ends(range.parse(range.zoom(of("10:00:00", "11:00:00"), 0.5, NOW)), NOW)).toEqual({ from: Date.parse("2026-05-01T10:15:00Z"), to: Date.parse("2026-05-01T10:45:00Z") });
    expect(range.ends(range.parse(range.zoom(range.parse({ range: "1h" }), 0.5, NOW)), NOW)).toEqual({ from: NOW - 1_800_000, to: NOW });
    expect(range.ends(range.parse(range.zoom(of("11:00:00", "12:00:00"), 4, NOW)), NOW).to).toBe(NOW);
  });

  it("is moved, but not beyond now", () => {
    expect(range.ends(range.parse(range.pan(of("10:00:00", "11:00:00"), -0.5, NOW)), NOW)).toEqual({ from: Date.parse("2026-05-01T09:30:00Z"), to: Date.parse("2026-05-01T10:30:00Z") });
    expect(range.ends(range.parse(range.pan(of("11:10:00", "11:50:00"), 1, NOW)), NOW).to).toBe(NOW);
  });
});

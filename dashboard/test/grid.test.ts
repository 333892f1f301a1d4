import { describe, expect, it } from "vitest";
import { corner, hit, layout, step } from "../src/lib/grid";

const group = (label: string, from: number, count: number) => ({ label, cells: Array.from({ length: count }, (_, at) => from + at) });

describe("grid", () => {
  it("finds each cell where it drew it", () => {
    const grid = layout([group("a", 0, 100), group("b", 100, 37)], 400, 300);
    for (let sensor = 0; sensor < 137; sensor += 1) {
      const at = corner(grid, sensor)!;
      expect(hit(grid, at.x + 1, at.y + 1)).toBe(sensor);
    }
    expect(hit(grid, 399, 1)).toBeNull();
    expect(hit(grid, 1, 299)).toBeNull();
    expect(hit(grid, -1, 50)).toBeNull();
  });

  it("has room for a hundred thousand, and is large where there are few", () => {
    expect(layout([group("", 0, 12)], 900, 300).pitch).toBe(26);
    const many = layout([group("", 0, 100_000)], 1200, 300);
    expect(many.pitch).toBe(3);
    expect(many.height).toBeLessThan(800);
  });

  it("stays within its height where that can be", () => {
    for (const count of [50, 500, 5_000, 20_000]) {
      const grid = layout([group("", 0, count)], 1000, 320);
      if (grid.pitch > 3) expect(grid.height).toBeLessThanOrEqual(320);
    }
  });

  it("puts small groups side by side", () => {
    const grid = layout(Array.from({ length: 7 }, (_, at) => group(`g${at}`, at * 22, 22)), 960, 400);
    expect(grid.pitch).toBe(26);
    expect(new Set(grid.sections.map((section) => section.left)).size).toBeGreaterThan(1);
    for (let sensor = 0; sensor < 154; sensor += 1) {
      const at = corner(grid, sensor)!;
      expect(hit(grid, at.x + 1, at.y + 1)).toBe(sensor);
      expect(at.x + grid.cell).toBeLessThanOrEqual(960);
    }
  });

  it("is walked by keys, and not left", () => {
    const grid = layout([group("", 0, 100)], 180, 1000);
    expect(step(grid, null, "ArrowRight")).toBe(0);
    expect(step(grid, 0, "ArrowLeft")).toBe(0);
    expect(step(grid, 0, "ArrowDown")).toBe(grid.columns);
    expect(step(grid, 5, "End")).toBe(99);
    expect(step(grid, 99, "ArrowDown")).toBe(99);
  });
});

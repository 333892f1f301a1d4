import { describe, expect, it } from "vitest";
import { Cells, LOOKS } from "../src/lib/cells";

const cells = () =>
  new Cells({ names: 1, at: 1000, number: [7, 9, 4], sensor_id: ["a", "b", "c"], groups: ["x"], group: [0, -1, 0], state: [0, 4, 16], score: [0, 10, 80], heard: [5, -1, 0] });

describe("cells", () => {
  it("are as they were told", () => {
    const of = cells();
    expect([of.look(0), of.look(1), of.look(2)]).toEqual(["running", "quarantined", "anomalous"]);
    expect([...of.looks()].map((place) => LOOKS[place])).toEqual(["running", "quarantined", "anomalous"]);
    expect([...of.heard]).toEqual([995, 0, 1000]);
    expect(of.counts()).toMatchObject({ running: 1, quarantined: 1, anomalous: 1, silent: 0 });
  });

  it("change by number", () => {
    const of = cells();
    expect(of.apply({ at: 2000, number: [9, 4], state: [0, 8], score: [0, 0], heard: [3, -1] })).toBe(false);
    expect([of.look(1), of.look(2)]).toEqual(["running", "silent"]);
    expect([...of.heard]).toEqual([995, 1997, 1000]);
  });

  it("say when there is one that they do not know", () => {
    expect(cells().apply({ at: 1, number: [123], state: [0], score: [0], heard: [0] })).toBe(true);
  });

  it("show what is grave before what is strange", () => {
    const of = cells();
    of.apply({ at: 1, number: [7], state: [2 + 16 + 8], score: [1], heard: [0] });
    expect(of.look(0)).toBe("backing_off");
    expect(of.mode(0)).toBe("backing_off");
  });

  it("have their strangest ones", () => {
    expect(cells().top(5)).toEqual([2, 1]);
    expect(cells().top(1)).toEqual([2]);
    const many = new Cells({ names: 1, at: 0, number: [...Array(5000).keys()], sensor_id: Array.from({ length: 5000 }, (_, at) => `s${at}`), state: Array(5000).fill(0), score: Array.from({ length: 5000 }, (_, at) => (at * 7919) % 101), heard: Array(5000).fill(0) });
    const scores = many.top(60).map((index) => many.score[index]!);
    expect(scores).toEqual([...many.score].sort((a, b) => b - a).slice(0, 60));
  });
});

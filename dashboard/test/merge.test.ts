import { describe, expect, it } from "vitest";
import { merge } from "../src/lib/merge";

describe("snapshot and deltas", () => {
  it("add up key by key", () => {
    const state = { summary: { rate: 1, sensors: 5 }, values: { host: { cpu: { value: 1, unit: "%" } } } };
    const next = merge(state, { summary: { rate: 2 }, values: { host: { cpu: { value: 3 }, memory: { value: 4 } } } });
    expect(next).toEqual({ summary: { rate: 2, sensors: 5 }, values: { host: { cpu: { value: 3, unit: "%" }, memory: { value: 4 } } } });
    expect(state.summary.rate).toBe(1);
  });

  it("leave what did not change the same object", () => {
    const state = { a: { x: 1 }, b: { y: 1 } };
    expect(merge(state, { a: { x: 2 } }).b).toBe(state.b);
    expect(merge(state, { a: { x: 1 } })).toBe(state);
  });

  it("replace lists, and take null for a value", () => {
    expect(merge({ list: [1, 2, 3], gone: 5 }, { list: [9], gone: null })).toEqual({ list: [9], gone: null });
    expect(merge({ a: null } as unknown, { a: { b: 1 } })).toEqual({ a: { b: 1 } });
  });

  it("come to the same in many deltas or in one", () => {
    const deltas = [{ a: { x: 1 } }, { a: { y: 2 }, c: 1 }, { a: { x: 5 } }];
    const one = merge({ a: {}, c: 0 }, { a: { x: 5, y: 2 }, c: 1 });
    expect(deltas.reduce((state, delta) => merge(state, delta), { a: {}, c: 0 } as unknown)).toEqual(one);
  });

  it("are not misled by what sensors call themselves", () => {
    const delta = JSON.parse('{"values":{"__proto__":{"polluted":1},"constructor":{"x":1}}}') as object;
    const next = merge({ values: {} as Record<string, unknown> }, delta);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(Object.keys(next.values)).toEqual(["__proto__", "constructor"]);
    expect(JSON.stringify(merge(next, JSON.parse('{"values":{"__proto__":{"y":2}}}')))).toContain('"__proto__":{"polluted":1,"y":2}');
  });
});

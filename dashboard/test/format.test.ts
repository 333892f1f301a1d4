import { describe, expect, it } from "vitest";
import * as format from "../src/lib/format";

const EN = "en-US";

describe("numbers", () => {
  it("have about four digits", () => {
    expect(["0", "1.5", "74.87", "123.5", "12,346", "1.23e+9", "1.00e-7", "-0.0123"]).toEqual(
      [0, 1.5, 74.869, 123.456, 12_345.6, 1.23e9, 1e-7, -0.0123].map((value) => format.number(EN, value)),
    );
  });

  it("say so where there is none", () => {
    for (const value of [null, undefined, NaN, Infinity]) {
      expect(format.number(EN, value)).toBe("–");
      expect(format.integer(EN, value)).toBe("–");
      expect(format.compact(EN, value)).toBe("–");
      expect(format.bytes(EN, value)[0]).toBe("–");
      expect(format.span(EN, value)).toBe("–");
    }
  });

  it("are in their unit", () => {
    expect(format.measured(EN, 1536, "B/s")).toEqual(["1.5", "KiB/s"]);
    expect(format.measured(EN, 21.5, "C")).toEqual(["21.5", "°C"]);
    expect(format.measured(EN, 5, null)).toEqual(["5", ""]);
    expect(format.bytes(EN, 5 * 1024 ** 3)).toEqual(["5", "GiB"]);
    expect(format.compact(EN, 1_234_567)).toBe("1.2M");
    expect(format.compact("zh-CN", 1_234_567)).toBe("123.5万");
  });
});

describe("times", () => {
  it("are spans in one unit", () => {
    const of = [0.4, 950, 9_400, 61_000, 600_000, 10_800_000, 400_000_000].map((ms) => format.span(EN, ms));
    expect(of).toEqual(["0.4 ms", "950 ms", "9.4 s", "61 s", "10 min", "3 h", "4 d"]);
  });

  it("are ages in whole units, never negative", () => {
    expect([-5_000, 300, 3_700, 61_000].map((ms) => format.age(EN, ms))).toEqual(["0 s", "0 s", "3 s", "61 s"]);
    expect(format.age("zh-CN", 300, { ms: "毫秒", s: "秒", min: "分钟", h: "小时", d: "天" })).toBe("0 秒");
  });

  it("have a day where it is not today", () => {
    const now = new Date(2026, 4, 10, 12, 0, 0).getTime();
    expect(format.time(EN, new Date(2026, 4, 10, 8, 5, 9).getTime(), now)).toBe("08:05:09");
    expect(format.time(EN, new Date(2026, 4, 9, 8, 5, 9).getTime(), now)).toContain("May 9");
    expect(format.time(EN, new Date(2025, 4, 9).getTime(), now)).toContain("2025");
    expect(format.time(EN, NaN, now)).toBe("–");
  });
});

describe("bytes", () => {
  it("are shown as hex and text, and nothing of them can act", () => {
    const [line, second] = format.hexdump(new TextEncoder().encode("<img src=x>\u0000\u001b[31mé"));
    expect(line).toEqual({ offset: "0000", hex: "3c 69 6d 67 20 73 72 63  3d 78 3e 00 1b 5b 33 31", text: "<img src=x>··[31" });
    expect(second?.offset).toBe("0010");
    expect(second?.text).toBe("m··");
    expect(format.fromBase64("AP8=")).toEqual(new Uint8Array([0, 255]));
  });
});

it("a literal pattern has no sign that means something else", () => {
  expect(format.literal("boiler-7")).toBe("boiler-7");
  expect(format.literal("a*b?c[d]{e,f}\\g!")).toBe("a\\*b\\?c\\[d\\]\\{e,f\\}\\\\g\\!");
});

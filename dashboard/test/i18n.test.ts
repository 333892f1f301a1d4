import { describe, expect, it } from "vitest";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { en } from "../src/i18n/en";
import { zh } from "../src/i18n/zh";

const params = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();
const files = (folder: string): string[] => readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)]));

describe("languages", () => {
  it("have the same texts", () => {
    expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
  });

  it("put the same things into them", () => {
    for (const key of Object.keys(en) as (keyof typeof en)[]) {
      expect(params(zh[key]), key).toEqual(params(en[key]));
      expect(zh[key].trim().length, key).toBeGreaterThan(0);
    }
  });

  it("have every text that is asked for", () => {
    const source = files("src").filter((file) => /\.(vue|ts)$/.test(file)).map((file) => readFileSync(file, "utf8")).join("\n");
    const asked = [...source.matchAll(/\bt\(\s*["']([a-z_]+\.[a-z_.]+)["']/g)].map((match) => match[1] as string);
    expect(asked.length).toBeGreaterThan(100);
    expect(asked.filter((key) => !Object.hasOwn(en, key))).toEqual([]);
  });
});

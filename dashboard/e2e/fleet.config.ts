import { defineConfig } from "@playwright/test";
import { launchOptions } from "./browser";

export default defineConfig({
  testDir: ".",
  testMatch: "fleet.ts",
  outputDir: "../test-results",
  workers: 1,
  timeout: 1_800_000,
  reporter: [["list"]],
  use: { browserName: "chromium", launchOptions },
});

import { defineConfig } from "@playwright/test";
import { launchOptions } from "./browser";

export default defineConfig({
  testDir: ".",
  testMatch: "screenshots.ts",
  outputDir: "../test-results",
  workers: 1,
  timeout: 900_000,
  reporter: [["list"]],
  use: { browserName: "chromium", launchOptions },
});

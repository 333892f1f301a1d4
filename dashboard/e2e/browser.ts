// Which browser the tests drive: the one named, else Chromium as Debian has it, else the one that Playwright brought.
import { existsSync } from "node:fs";

const named = process.env.SENSORHIVE_TEST_CHROMIUM;
const executablePath = named ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));

export const launchOptions = {
  ...(executablePath ? { executablePath } : {}),
  // Its sandbox does not work for root.
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
};

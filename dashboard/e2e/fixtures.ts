// One service for all tests of a worker; each page tells what the browser complains of, and nothing of that is allowed.
import { test as base, expect, type Page } from "@playwright/test";
import { Service } from "./service";

export { expect };
export const HOSTILE = "<img src=x onerror=alert(1)>";

export const test = base.extend<{ quiet: void; admin: void }, { service: Service }>({
  service: [
    async ({}, use) => {
      const service = new Service();
      await service.start();
      const now = Date.now();
      await service.send([
        { sensor_id: HOSTILE, metric: HOSTILE, value: 1, unit: HOSTILE, tags: { [HOSTILE]: HOSTILE } },
        ...[620, 615, 610, 605, 600, 595, 590, 15, 10, 5].map((ago) => ({ sensor_id: "gap", metric: "level", value: ago % 7, timestamp: now - ago * 1000 })),
      ]);
      await use(service);
      await service.end();
    },
    { scope: "worker", timeout: 120_000 },
  ],
  baseURL: async ({ service }, use) => use(service.url),
  quiet: [
    async ({ page }, use) => {
      const complaints: string[] = [];
      page.on("dialog", (dialog) => {
        complaints.push(`dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("console", (message) => {
        if (/Content Security Policy|Refused to|\[Vue warn\]/.test(message.text())) complaints.push(message.text());
      });
      await use();
      expect(complaints).toEqual([]);
    },
    { auto: true },
  ],
  // Named by tests that command: the tab has the token already.
  admin: async ({ page, service }, use) => {
    await page.addInitScript((token) => sessionStorage.setItem("token", token), service.token);
    await use();
  },
});

/** How often a chart was drawn. */
export async function frames(page: Page, chart = "[data-frames]"): Promise<number> {
  return Number(await page.locator(chart).first().getAttribute("data-frames"));
}

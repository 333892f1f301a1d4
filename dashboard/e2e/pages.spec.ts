// Every page is there, live, and usable by everybody.
import AxeBuilder from "@axe-core/playwright";
import { expect, frames, test } from "./fixtures";

const PAGES: [path: string, ready: string][] = [
  ["/", '[data-test="received"]'],
  ["/sensors", '[data-test="row"]'],
  ["/sensors/host", '[data-test="inside"]'],
  ["/alerts", '[data-test="alert"]'],
  ["/actors", '[data-path="storage/writer"]'],
  ["/sources", '[data-source="demo"]'],
  ["/dead-letters", '[data-test="letters"]'],
];

for (const [path, ready] of PAGES) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`${path} is accessible, ${colorScheme}`, async ({ page, admin: _ }) => {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.goto(path);
      await expect(page.locator(ready).first()).toBeVisible();
      await expect(page.locator('[data-test="status"]')).toHaveAttribute("data-status", /live|polling/);
      const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]).analyze();
      expect(found.violations.map(({ id, nodes }) => ({ id, at: nodes.map((node) => node.target.join(" ")), why: nodes[0]?.failureSummary }))).toEqual([]);
    });
  }
}

test("charts move, and stand still while paused", async ({ page }) => {
  await page.goto("/");
  const chart = '[data-test="cpu"] [data-frames]';
  await expect.poll(() => frames(page, chart)).toBeGreaterThan(0);
  const before = await frames(page, chart);
  await expect.poll(() => frames(page, chart)).toBeGreaterThan(before + 2);
  await page.keyboard.press("p");
  await expect(page.locator('[data-test="status"]')).toHaveAttribute("data-status", "paused");
  await page.keyboard.press("p");
  await expect(page.locator('[data-test="status"]')).toHaveAttribute("data-status", /live|polling/);
});

test("the language and the theme can be chosen, and are kept", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto("/sensors");
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.locator('[data-test="theme"]').click();
  expect(await ground()).toBe(light);
  await page.locator('[data-test="theme"]').click();
  await expect.poll(ground).not.toBe(light);
  await page.locator('[data-test="language"]').click();
  await expect(page.getByRole("heading", { name: "传感器" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("heading", { name: "传感器" })).toBeVisible();
  expect(await ground()).not.toBe(light);
  await expect(page).toHaveTitle("传感器 · Sensorhive");
});

test("the address holds search, sort and range", async ({ page }) => {
  await page.goto("/sensors");
  await page.keyboard.press("/");
  await page.keyboard.type("sim-00001");
  await expect(page).toHaveURL(/q=sim-00001/);
  await expect(page.locator('[data-test="row"]')).toHaveCount(10);
  await page.locator('[data-test="sort-sensor_id"]').click();
  await page.locator('[data-test="sort-sensor_id"]').click();
  await expect(page.locator('[data-test="row"] a').first()).toHaveText("sim-000019");
  await page.reload();
  await expect(page.locator('[data-test="row"] a').first()).toHaveText("sim-000019");
  await page.locator('[data-test="row"] a').first().focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/sensors\/sim-000018/);
  await expect(page).toHaveTitle("sim-000018 · Sensorhive");
});

test("a list of many has only the rows on the screen", async ({ page }) => {
  await page.goto("/sensors");
  await expect(page.locator('[data-test="count"]')).toHaveText(/20\d/);
  expect(await page.locator('[data-test="row"]').count()).toBeLessThan(60);
  await page.locator('[data-test="row"] a').first().focus();
  await page.keyboard.press("End");
  await expect(page.locator('[data-row="199"] a')).toBeFocused();
});

test("nothing is asked of anybody else", async ({ page, service }) => {
  const strangers: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(service.url) && !request.url().startsWith("data:")) strangers.push(request.url());
  });
  for (const [path] of PAGES) {
    await page.goto(path);
    await page.waitForTimeout(300);
  }
  expect(strangers).toEqual([]);
});

test("a phone shows it all without scrolling sideways", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 780 });
  for (const [path, ready] of PAGES.slice(0, 5)) {
    await page.goto(path);
    await expect(page.locator(ready).first()).toBeVisible();
    expect(await page.evaluate(() => document.documentElement.scrollWidth), path).toBeLessThanOrEqual(390);
  }
});

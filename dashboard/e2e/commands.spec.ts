// What is done from the dashboard, and what it shows when things go wrong.
import { expect, frames, HOSTILE, test } from "./fixtures";
import { Service } from "./service";

test("a sensor is restarted with a token and a reason", async ({ page, service }) => {
  await page.goto("/sensors/sim-000001");
  await page.locator('[data-test="restart"]').click();
  await page.locator('[data-test="who"]').fill("Ada");
  await page.locator('[data-test="why"]').fill("it looked stuck");
  await page.locator('[data-test="token"]').fill("wrong");
  await page.locator('[data-test="confirm"]').click();
  await expect(page.locator('[data-test="action-trouble"]')).toContainText("not known");
  await page.locator('[data-test="token"]').fill(service.token);
  await page.locator('[data-test="confirm"]').click();
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(page.locator('[data-test="restarts"]')).toContainText("Ada: it looked stuck");
  // Kept for this tab alone.
  expect(await page.evaluate(() => [sessionStorage.getItem("token"), localStorage.getItem("token")])).toEqual([service.token, null]);
});

test("a sensor is paused and resumed", async ({ page, admin: _ }) => {
  await page.goto("/sensors/sim-000002");
  await page.locator('[data-test="pause-sensor"]').click();
  await page.locator('[data-test="confirm"]').click();
  await expect(page.locator('[data-test="mode"]')).toHaveText("paused");
  await page.locator('[data-test="resume"]').click();
  await page.locator('[data-test="confirm"]').click();
  await expect(page.locator('[data-test="mode"]')).toHaveText("running");
});

test("an alert is acknowledged, and what it is about is silenced", async ({ page, admin: _ }) => {
  await page.goto("/alerts?state=firing");
  await expect(page.locator('[data-test="untaken"]')).toBeVisible();
  await page.locator('[data-test="alert"]').first().click();
  await expect(page.locator('[data-test="alert-events"] li')).not.toHaveCount(0);
  await page.locator('[data-test="acknowledge"]').click();
  await page.locator('[data-test="who"]').fill("Ada");
  await page.locator('[data-test="why"]').fill("on my way");
  await page.locator('[data-test="confirm"]').click();
  await expect(page.locator('[data-test="acknowledged"]')).toContainText("Ada");
  await expect(page.locator('[data-test="acknowledged"]')).toContainText("on my way");
  await page.locator('[data-test="silence"]').click();
  await page.locator('[data-test="choice"]').selectOption("8h");
  await page.locator('[data-test="confirm"]').click();
  const silence = page.locator('[data-test="silences"] li');
  await expect(silence).toHaveCount(1);
  await expect(silence).toContainText("rule = ");
  await silence.locator('[data-test="end-silence"]').click();
  await page.locator('[data-test="confirm"]').click();
  await expect(silence).toHaveCount(0);
});

test("an actor is restarted from the tree", async ({ page, admin: _ }) => {
  await page.goto("/actors");
  const row = page.locator('[data-path="ingest/demo"]');
  await row.locator('[data-test="restart-actor"]').click();
  await page.locator('[data-test="confirm"]').click();
  await expect(row.locator("td").nth(5)).toHaveText("1");
});

test("a dead letter is looked at, its cause is mended, and it is replayed", async ({ page }) => {
  // What the machines write has its value where the settings, at first, do not look for it.
  const settings = (value: string) => `
[sources.host]
kind = "host"
enabled = false
[sources.line]
kind = "file"
path = "line.log"
interval = "50ms"
mapping = { sensor_id = "/machine", metric = "/what", value = "${value}", timestamp = "/at" }
`;
  const at = new Date(Date.now() - 60_000).toISOString();
  const own = new Service(["--config", "settings.toml"]);
  try {
    own.write("settings.toml", settings("/reading"));
    own.write("line.log", `${JSON.stringify({ machine: "press-7", what: "force", v: 41.25, at })}\n`);
    await own.start();
    await page.goto(`${own.url}/dead-letters`);
    await page.locator('[data-test="admin-token"]').fill(own.token);
    await page.locator('[data-test="use-token"]').click();
    const letters = page.locator('[data-test="letter"]');
    await expect(letters).toHaveCount(1);
    await expect(letters).toContainText("press-7");
    await letters.click();
    await expect(page).toHaveURL(/letter=\d+/);
    await expect(page.locator('[data-test="letter-detail"]')).toContainText("/reading");
    await expect(page.locator('[data-test="hex"]')).toContainText("0000");
    // Replayed before anything was mended it is refused again, by a letter of its own.
    await page.locator('[data-test="replay"]').click();
    await page.locator('[data-test="confirm"]').click();
    await expect(page.locator('[data-test="told"]')).toContainText("refused again");
    await expect(letters).toHaveCount(2);
    await expect(page.locator('[data-test="replay"]')).toBeDisabled();

    await own.kill();
    own.write("settings.toml", settings("/v"));
    await own.start();
    await page.goto(`${own.url}/dead-letters`);
    await expect(letters).toHaveCount(2);
    await letters.first().click();
    await page.locator('[data-test="replay"]').click();
    await page.locator('[data-test="confirm"]').click();
    await expect(page.locator('[data-test="told"]')).toHaveText("Stored: 1. Duplicates: 0.");
    await expect(page.locator('[data-test="replay"]')).toBeDisabled();
    await expect(letters).toHaveCount(2);
    await expect(letters.first()).toContainText("replayed");
    const stored = await (await fetch(`${own.url}/api/sensors/press-7/readings?metric=force`)).json();
    expect(stored.data).toMatchObject([{ value: 41.25 }]);
    await page.goto(`${own.url}/sensors/press-7`);
    await expect(page.locator('[data-test="sensor-id"]')).toHaveText("press-7");
    await expect(page.locator("main")).toContainText("41.25");
  } finally {
    await own.end();
  }
});

test("a stretch of time is zoomed into, and the way back is the browser's", async ({ page }) => {
  await page.goto("/sensors/host?range=5m");
  const chart = page.locator('[data-test="series-chart"]');
  await expect.poll(() => frames(page, '[data-test="series-chart"] [data-frames]')).toBeGreaterThan(3);
  const box = (await chart.boundingBox())!;
  await page.mouse.move(box.x + box.width * 0.5, box.y + 100);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.8, box.y + 120, { steps: 5 });
  await page.mouse.up();
  await expect(page).toHaveURL(/from=.*&to=/);
  await expect(page.locator('[data-test="still"]')).toBeVisible();
  const span = () => {
    const query = new URL(page.url()).searchParams;
    return Date.parse(query.get("to")!) - Date.parse(query.get("from")!);
  };
  const zoomed = span();
  expect(zoomed).toBeGreaterThan(60_000);
  expect(zoomed).toBeLessThan(120_000);
  await chart.focus();
  await page.keyboard.press("-");
  await expect.poll(span).toBe(zoomed * 2);
  await page.goBack();
  await page.goBack();
  await expect(page).toHaveURL(/range=5m/);
});

test("it comes back by itself when the service does", async ({ page }) => {
  const own = new Service();
  try {
    await own.start();
    await page.goto(own.url);
    await expect(page.locator('[data-test="status"]')).toHaveAttribute("data-status", /live|polling/);
    await own.kill();
    await expect(page.locator('[data-test="lost"]')).toBeVisible();
    await expect(page.locator('[data-test="status"]')).toHaveAttribute("data-status", "waiting");
    await own.start();
    await expect(page.locator('[data-test="lost"]')).toBeHidden({ timeout: 40_000 });
    await expect(page.locator('[data-test="status"]')).toHaveAttribute("data-status", /live|polling/);
  } finally {
    await own.end();
  }
});

test("what a sensor calls itself stays a text", async ({ page, admin: _ }) => {
  await page.goto(`/sensors?q=${encodeURIComponent("<img")}`);
  await expect(page.locator('[data-test="row"] a')).toHaveText(HOSTILE);
  await page.locator('[data-test="row"] a').click();
  await expect(page.locator('[data-test="sensor-id"]')).toHaveText(HOSTILE);
  await expect(page).toHaveTitle(`${HOSTILE} · Sensorhive`);
  const chart = page.locator('[data-test="series-chart"]');
  await expect.poll(() => frames(page, '[data-test="series-chart"] [data-frames]')).toBeGreaterThan(1);
  const box = (await chart.boundingBox())!;
  await page.mouse.move(box.x + box.width - 40, box.y + 150);
  await page.locator('[data-test="restart"]').click();
  await expect(page.getByRole("heading", { name: HOSTILE }).first()).toBeVisible();
  await page.keyboard.press("Escape");
  for (const shard of ["0", "1"]) {
    await page.goto(`/actors?open=${shard}`);
    await expect(page.locator(`[data-path="shards/${shard}"]`)).toBeVisible();
  }
  await page.goto(`/?group=${encodeURIComponent(HOSTILE)}`);
  const grid = page.locator('[data-test="grid"] canvas');
  await grid.focus();
  await page.keyboard.press("Home");
  await expect(page.locator('[data-test="grid-tip"]')).toBeVisible();
  await expect(page.locator('[data-test="grid-tip"] b')).toHaveText(HOSTILE);
  await page.waitForTimeout(500);
  expect(await page.locator("img").count()).toBe(0);
});

test("a gap is shown as one", async ({ page }) => {
  await page.goto("/sensors/gap");
  await expect.poll(() => frames(page, '[data-test="series-chart"] [data-frames]')).toBeGreaterThan(1);
  const chart = page.locator('[data-test="series-chart"]');
  const box = (await chart.boundingBox())!;
  await page.mouse.move(box.x + box.width * 0.66, box.y + 150);
  await expect(page.locator(".tip")).toContainText("no readings");
});

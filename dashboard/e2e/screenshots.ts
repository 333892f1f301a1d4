// The pictures of docs/images: every page in both themes, some of them in Chinese and as a phone shows them. SENSORHIVE_SHOTS, such as
// "alerts", makes those alone whose name begins so.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "@playwright/test";
import { BOILER, CONFIG, devices, furnish, run } from "./plant";
import { Service } from "./service";

const OUT = resolve("../docs/images");
const WIDE = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

const SHOTS: { name: string; path: string; dark: boolean; language?: "zh"; phone?: boolean; act?: "letter" | "alert" }[] = [
  { name: "overview-dark", path: "/?group=hall", dark: true },
  { name: "overview-light", path: "/?group=hall&by=score", dark: false },
  { name: "overview-dark-zh", path: "/?group=hall", dark: true, language: "zh" },
  { name: "overview-phone", path: "/?group=hall", dark: true, phone: true },
  { name: "sensor-dark", path: `/sensors/${BOILER}?range=6h`, dark: true },
  { name: "sensor-light", path: `/sensors/${BOILER}?range=5m`, dark: false },
  { name: "sensor-light-zh", path: "/sensors/host?range=5m", dark: false, language: "zh" },
  { name: "sensor-phone", path: `/sensors/${BOILER}?range=1h`, dark: false, phone: true },
  { name: "sensors-dark", path: "/sensors?sort=heard", dark: true },
  { name: "sensors-light", path: "/sensors?sort=mode", dark: false },
  { name: "alerts-dark", path: "/alerts?state=all", dark: true, act: "alert" },
  { name: "alerts-light-zh", path: "/alerts?state=all", dark: false, language: "zh", act: "alert" },
  { name: "actors-dark", path: "/actors?open=0", dark: true },
  { name: "actors-light", path: "/actors", dark: false },
  { name: "sources-dark", path: "/sources", dark: true },
  { name: "sources-light-zh", path: "/sources", dark: false, language: "zh" },
  { name: "letters-dark", path: "/dead-letters", dark: true, act: "letter" },
  { name: "letters-light", path: "/dead-letters", dark: false, act: "letter" },
];

test("screenshots", async ({ browser }) => {
  const directory = mkdtempSync(join(tmpdir(), "sensorhive-plant-"));
  writeFileSync(join(directory, "plant.toml"), CONFIG);
  const service = new Service(["run", "--config", join(directory, "plant.toml"), "--set", "http.requests_per_second=0"]);
  const plant = devices();
  try {
    await service.start();
    await furnish(service, plant);
    const stop = run(service, plant);
    await new Promise((next) => setTimeout(next, 65_000));
    await service.send([{ sensor_id: "packing-flow-14", metric: "flow", value: "n/a" }]).catch(() => {});
    await service.send([{ sensor_id: plant[5]!.id, metric: plant[5]!.metric, value: 5, timestamp: Date.now() + 90_000_000 }]).catch(() => {});
    await service.admin(`sensors/${plant[20]!.id}/pause`, { why: "Ada: being calibrated" });
    await service.admin(`sensors/${BOILER}/restart`, { why: "Ada: looked stuck after the power cut" });
    mkdirSync(OUT, { recursive: true });
    for (const shot of SHOTS.filter(({ name }) => name.startsWith(process.env.SENSORHIVE_SHOTS ?? ""))) {
      const context = await browser.newContext({
        baseURL: service.url,
        viewport: shot.phone ? PHONE : WIDE,
        colorScheme: shot.dark ? "dark" : "light",
        locale: shot.language === "zh" ? "zh-CN" : "en-US",
      });
      await context.addInitScript((token) => sessionStorage.setItem("token", token), service.token);
      const page = await context.newPage();
      await page.goto(shot.path);
      await page.waitForTimeout(3_500);
      if (shot.act) {
        await page.locator(`[data-test="${shot.act}"]`).first().click();
        await page.waitForTimeout(1_000);
      }
      await page.screenshot({ path: join(OUT, `${shot.name}.png`) });
      await context.close();
    }
    stop();
  } finally {
    await service.end();
  }
});

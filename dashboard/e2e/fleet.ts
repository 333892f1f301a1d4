// The overview with a hundred thousand sensors that speak: what it looks like, how long its frames take, and what comes over the wire.
//
// Prints figures and makes docs/images/overview-fleet.png. SENSORHIVE_BENCH_SENSORS and SENSORHIVE_BENCH_RATE say how many sensors, and how
// many readings a second. One browser and one core or two for all of it: what is printed is what the smallest machine does.
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test, type Page } from "@playwright/test";
import { BINARY, Service } from "./service";

const SENSORS = Number(process.env.SENSORHIVE_BENCH_SENSORS ?? 100_000);
const RATE = Number(process.env.SENSORHIVE_BENCH_RATE ?? 5_000);
const SECONDS = 20;
const BATCH = 2_000;
const SITES = 24;
const CONFIG = `
[[series]]
match = { metric = "temperature" }
detectors = [{ kind = "jump", threshold = 15.0 }]
`;

/** What came over the wire since it was last asked. */
class Wire {
  private http = 0;
  private live = 0;
  private readonly sockets = new Set<string>();

  constructor(private readonly page: Page) {}

  async watch(): Promise<void> {
    const devtools = await this.page.context().newCDPSession(this.page);
    await devtools.send("Network.enable");
    devtools.on("Network.webSocketCreated", ({ requestId }) => this.sockets.add(requestId));
    devtools.on("Network.webSocketFrameReceived", ({ response }) => (this.live += Buffer.byteLength(response.payloadData)));
    devtools.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (!this.sockets.has(requestId)) this.http += encodedDataLength;
    });
  }

  take(): { http: number; live: number } {
    const taken = { http: this.http, live: this.live };
    this.http = this.live = 0;
    return taken;
  }
}

/** Milliseconds between frames while `SECONDS` pass, and tasks that held the page up. */
function frames(page: Page): Promise<{ gaps: number[]; long: number[] }> {
  return page.evaluate(async (ms) => {
    const gaps: number[] = [];
    const long: number[] = [];
    const observer = new PerformanceObserver((list) => list.getEntries().forEach((entry) => long.push(entry.duration)));
    observer.observe({ entryTypes: ["longtask"] });
    const until = performance.now() + ms;
    await new Promise<void>((done) => {
      let last = performance.now();
      const next = (now: number): void => {
        gaps.push(now - last);
        last = now;
        if (now < until) requestAnimationFrame(next);
        else done();
      };
      requestAnimationFrame(next);
    });
    observer.disconnect();
    return { gaps, long };
  }, SECONDS * 1000);
}

function part(of: number[], share: number): number {
  const sorted = [...of].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

const say = (line: string): unknown => process.stdout.write(`${line}\n`);
const kib = (bytes: number): string => `${(bytes / 1024).toFixed(0)} KiB`;
const ms = (time: number): string => `${time.toFixed(1)} ms`;

function tell(what: string, { gaps, long }: { gaps: number[]; long: number[] }): void {
  say(`${what}: ${gaps.length} frames in ${SECONDS} s, p50 ${ms(part(gaps, 0.5))}, p99 ${ms(part(gaps, 0.99))}, longest ${ms(part(gaps, 1))}; tasks over 50 ms: ${long.length}, longest ${ms(part(long, 1))}`);
}

test("a fleet", async ({ browser }) => {
  const quiet = ["mqtt_listener.enabled=false", "http.requests_per_second=0"].flatMap((one) => ["--set", one]);
  const config = join(mkdtempSync(join(tmpdir(), "sensorhive-fleet-")), "fleet.toml");
  writeFileSync(config, CONFIG);
  const service = new Service(["run", "--config", config, ...quiet]);
  try {
    await service.start();
    for (let first = 0; first < SENSORS; first += BATCH) {
      const batch = [];
      for (let at = first; at < Math.min(SENSORS, first + BATCH); at += 1) {
        batch.push({ sensor_id: `sim-${String(at + 1).padStart(6, "0")}`, metric: "temperature", value: 20, unit: "C", tags: { site: `site-${String((at % SITES) + 1).padStart(2, "0")}` } });
      }
      await service.send(batch);
    }
    const simulate = spawn(BINARY, ["simulate", "--sensors", String(SENSORS), "--rate", String(RATE), "--spikes", "0.0005", "--url", service.url], { stdio: "ignore" });
    await new Promise((next) => setTimeout(next, 20_000));

    const context = await browser.newContext({ baseURL: service.url, viewport: { width: 1440, height: 900 }, colorScheme: "dark", locale: "en-US" });
    const page = await context.newPage();
    const wire = new Wire(page);
    await wire.watch();
    const begun = Date.now();
    await page.goto("/?group=site");
    const cells = page.locator('[data-test="grid"] canvas');
    await expect.poll(async () => parseInt((await cells.getAttribute("aria-label")) ?? "", 10), { timeout: 60_000, intervals: [100] }).toBeGreaterThanOrEqual(SENSORS);
    say(`${SENSORS} sensors, ${RATE} readings a second: the overview is complete after ${Date.now() - begun} ms`);
    // The snapshot may come after the first picture.
    await page.waitForTimeout(5_000);
    const first = wire.take();
    say(`to load it: ${kib(first.http)} of HTTP (compressed), ${kib(first.live)} over WebSocket`);
    tell("while it stands", await frames(page));
    const standing = wire.take();
    say(`meanwhile: ${kib(standing.live / SECONDS)} a second over WebSocket, ${kib(standing.http / SECONDS)} a second of HTTP`);
    const box = await cells.boundingBox();
    const moving = frames(page);
    for (let step = 0; step < SECONDS * 8 && box; step += 1) {
      await page.mouse.move(box.x + 20 + ((step * 37) % (box.width - 40)), box.y + 40 + ((step * 23) % Math.max(1, Math.min(box.height, 300) - 60)));
      await page.waitForTimeout(100);
    }
    tell("while the pointer moves over its cells", await moving);
    await page.mouse.move(2, 2);
    await page.waitForTimeout(500);
    await page.screenshot({ path: resolve("../docs/images/overview-fleet.png") });
    simulate.kill();
    await context.close();
  } finally {
    await service.end();
  }
});

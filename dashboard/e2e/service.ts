// A service of our own for the tests: the real binary, on a free port, with its data in a directory that goes away.
//
// It never outlives us: a shell beside it waits for the end of our pipe, which comes however we end, and kills it then.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const BINARY = resolve(process.env.SENSORHIVE_BIN ?? "../target/debug/sensorhive");
const READY_MS = 60_000;

export class Service {
  url = "";
  token = "";
  private child: ChildProcess | null = null;
  private readonly directory = mkdtempSync(join(tmpdir(), "sensorhive-e2e-"));

  constructor(private readonly args: string[] = ["demo"]) {}

  /** Puts a file into its directory, which it runs in. */
  write(name: string, text: string): void {
    writeFileSync(join(this.directory, name), text);
  }

  /** Starts it, or starts it again on the same port and data. */
  async start(): Promise<void> {
    const listen = this.url ? new URL(this.url).host : "127.0.0.1:0";
    const args = [...this.args, "--set", `http.listen=${listen}`, "--set", "mqtt_listener.listen=127.0.0.1:0", "--log-level", "warn"];
    const script = '"$0" "$@" & pid=$!; cat > /dev/null; kill -9 "$pid"; wait "$pid" 2> /dev/null';
    const child = spawn("sh", ["-c", script, BINARY, ...args], { cwd: this.directory, stdio: ["pipe", "pipe", "inherit"] });
    this.child = child;
    let told = "";
    const listening = new Promise<void>((ready, failed) => {
      child.stdout?.on("data", (data: Buffer) => {
        told += data.toString();
        const token = /^admin token: (\S+)$/m.exec(told);
        if (token?.[1]) this.token = token[1];
        const address = /^listening on (http:\S+)$/m.exec(told);
        if (address?.[1]) {
          this.url = address[1];
          ready();
        }
      });
      child.on("exit", () => failed(new Error(`the service ended before it listened: ${told}`)));
      setTimeout(() => failed(new Error(`the service does not listen: ${told}`)), READY_MS).unref();
    });
    await listening;
    for (const until = Date.now() + READY_MS; ; ) {
      if ((await fetch(`${this.url}/readyz`).catch(() => null))?.ok) return;
      if (Date.now() > until) throw new Error("the service does not become ready");
      await new Promise((next) => setTimeout(next, 100));
    }
  }

  /** As kill -9. */
  async kill(): Promise<void> {
    const child = this.child;
    this.child = null;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.stdin?.end();
    await gone;
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async send(readings: unknown): Promise<void> {
    const answer = await fetch(`${this.url}/api/ingest`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(readings) });
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  }

  async admin(path: string, body: unknown = {}): Promise<void> {
    const headers = { "content-type": "application/json", authorization: `Bearer ${this.token}` };
    const answer = await fetch(`${this.url}/api/admin/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  }
}

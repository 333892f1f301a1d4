// Questions to the service. Every error is a Problem with the service's own words (RFC 9457).
import { locked, setToken, token } from "./token";

const PATIENCE_MS = 15_000;

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    detail: string,
  ) {
    super(detail);
  }
  /** Whether another token might help. */
  get denied(): boolean {
    return this.status === 401 || this.status === 403;
  }
  /** Whether nobody answered at all. */
  get unreachable(): boolean {
    return this.status === 0;
  }
}

async function ask<T>(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = {};
  if (token.value) headers.authorization = `Bearer ${token.value}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const limit = AbortSignal.timeout(PATIENCE_MS);
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "unreachable", error instanceof Error ? error.message : String(error));
  }
  const told: unknown = await answer.json().catch(() => null);
  if (answer.ok) return told as T;
  const problem = (told ?? {}) as { type?: string; detail?: string; title?: string };
  if (answer.status === 401 && !path.startsWith("/api/admin")) {
    if (token.value) setToken("");
    locked.value = true;
  }
  throw new Problem(answer.status, problem.type ?? "", problem.detail ?? problem.title ?? answer.statusText);
}

export function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return ask<T>("GET", path, undefined, signal);
}

export function post<T>(path: string, body: unknown = {}, signal?: AbortSignal): Promise<T> {
  return ask<T>("POST", path, body, signal);
}

export async function remove(path: string): Promise<void> {
  await ask("DELETE", path, undefined);
}

/** The address of what belongs to a sensor. Its id may be any text. */
export function sensorPath(id: string, what = ""): string {
  return `/api/sensors/${encodeURIComponent(id)}${what ? `/${what}` : ""}`;
}

/** A path with those parameters that have a value. */
export function query(path: string, of: Record<string, string | number | undefined | null | string[]>): string {
  const parts: string[] = [];
  for (const [key, value] of Object.entries(of)) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) parts.push(`${key}=${encodeURIComponent(String(one))}`);
  }
  return parts.length > 0 ? `${path}?${parts.join("&")}` : path;
}

// What a snapshot and the changes after it add up to.
//
// A change has the shape of the snapshot, with only what changed in it. Objects are merged key by key, everything else (numbers,
// texts, lists) replaces what was there; null removes nothing, it is a value. The old state is never changed: what is the same stays
// the same object, so that who watches only a part sees that it did not change.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function merge<T>(state: T, delta: unknown): T {
  if (!isObject(state) || !isObject(delta)) return delta as T;
  let next: Record<string, unknown> | null = null;
  for (const key of Object.keys(delta)) {
    // A sensor may be called `__proto__`.
    const before = Object.hasOwn(state, key) ? state[key] : undefined;
    const after = isObject(before) ? merge(before, delta[key]) : delta[key];
    if (after === before && Object.hasOwn(state, key)) continue;
    next ??= copy(state);
    put(next, key, after);
  }
  return (next ?? state) as T;
}

function copy(of: Record<string, unknown>): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const key of Object.keys(of)) put(made, key, of[key]);
  return made;
}

function put(into: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true });
  else into[key] = value;
}

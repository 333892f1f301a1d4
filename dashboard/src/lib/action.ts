// Commands ask first: what will happen, who wants it and why, and for an administrator's token where none is known.
import { shallowRef } from "vue";

/** What somebody filled in. */
export interface Said {
  by: string;
  comment: string;
  choice: string;
}

export interface Action {
  title: string;
  text: string;
  confirm: string;
  danger?: boolean;
  /** Whether the service keeps a reason. */
  why?: boolean;
  /** What else has to be chosen. */
  choice?: { label: string; options: { value: string; label: string }[]; value: string };
  /** Runs with the reason; what it throws is shown, and the dialog stays. */
  run: (why: string, said: Said) => Promise<void>;
}

export const asked = shallowRef<Action | null>(null);

export function confirm(action: Action): void {
  asked.value = action;
}

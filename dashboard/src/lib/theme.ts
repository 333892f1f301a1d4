// Light or dark: as the system has it, unless somebody chose. Canvases ask here for the colors that the style sheet has.
import { computed, shallowRef, watchEffect } from "vue";

export type Theme = "system" | "light" | "dark";
const KEY = "theme";

const asked = localStorage.getItem(KEY);
export const theme = shallowRef<Theme>(asked === "light" || asked === "dark" ? asked : "system");

const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = shallowRef(system.matches);
system.addEventListener("change", (event) => (systemDark.value = event.matches));

export const dark = computed(() => (theme.value === "system" ? systemDark.value : theme.value === "dark"));

watchEffect(() => {
  if (theme.value === "system") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(KEY);
  } else {
    document.documentElement.dataset.theme = theme.value;
    localStorage.setItem(KEY, theme.value);
  }
});

export function setTheme(to: Theme): void {
  theme.value = to;
}

const known = new Map<string, string>();
let knownDark: boolean | null = null;

/** The color of a custom property such as `--line` in the theme of now, as a canvas takes it. */
export function color(name: string): string {
  if (knownDark !== dark.value) {
    known.clear();
    knownDark = dark.value;
  }
  let found = known.get(name);
  if (found === undefined) {
    // `light-dark()` is only worked out where a property uses it.
    const probe = document.createElement("i");
    probe.hidden = true;
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    found = getComputedStyle(probe).color;
    probe.remove();
    known.set(name, found);
  }
  return found;
}

// The addresses of the dashboard. The service knows the same ones (src/web/routes/page.rs).
import { watchEffect } from "vue";
import { createRouter, createWebHistory, type RouteRecordRaw } from "vue-router";
import { t, type Key } from "./i18n";

export const PAGES: { name: string; path: string; title: Key; icon: string }[] = [
  { name: "overview", path: "/", title: "nav.overview", icon: "overview" },
  { name: "sensors", path: "/sensors", title: "nav.sensors", icon: "sensors" },
  { name: "alerts", path: "/alerts", title: "nav.alerts", icon: "alerts" },
  { name: "actors", path: "/actors", title: "nav.actors", icon: "actors" },
  { name: "sources", path: "/sources", title: "nav.sources", icon: "sources" },
  { name: "dead-letters", path: "/dead-letters", title: "nav.letters", icon: "letters" },
];

const routes: RouteRecordRaw[] = [
  { path: "/", name: "overview", component: () => import("./views/Overview.vue") },
  { path: "/sensors", name: "sensors", component: () => import("./views/Sensors.vue") },
  { path: "/sensors/:id", name: "sensor", component: () => import("./views/Sensor.vue"), props: true },
  { path: "/alerts", name: "alerts", component: () => import("./views/Alerts.vue") },
  { path: "/actors", name: "actors", component: () => import("./views/Actors.vue") },
  { path: "/sources", name: "sources", component: () => import("./views/Sources.vue") },
  { path: "/dead-letters", name: "dead-letters", component: () => import("./views/DeadLetters.vue") },
  { path: "/:rest(.*)*", name: "nowhere", component: () => import("./views/Nowhere.vue") },
];

export const router = createRouter({
  history: createWebHistory(),
  routes,
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? undefined : { top: 0 }),
});

// Plain text by nature: no browser makes anything else of a title.
watchEffect(() => {
  const route = router.currentRoute.value;
  const page = PAGES.find((one) => one.name === route.name);
  const id = route.name === "sensor" ? String(route.params.id) : "";
  const what = id || (page && page.name !== "overview" ? t(page.title) : "");
  document.title = what ? `${what} · Sensorhive` : "Sensorhive";
});

/** Changes parameters of the address in place; empty ones are left out. */
export function setQuery(of: Record<string, string | undefined>, push = false): void {
  const route = router.currentRoute.value;
  const query: Record<string, string> = {};
  for (const [key, value] of Object.entries({ ...route.query, ...of })) {
    if (typeof value === "string" && value !== "") query[key] = value;
  }
  void router[push ? "push" : "replace"]({ path: route.path, query, hash: route.hash });
}

/** One parameter of the address, as text. */
export function queryText(name: string): string {
  const value = router.currentRoute.value.query[name];
  return typeof value === "string" ? value : "";
}

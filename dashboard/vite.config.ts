// How the dashboard is built: hashed files under /assets, ECharts in a chunk of its own, and the licenses of all that is in it.
import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vitest/config";

const service = process.env.SENSORHIVE_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [vue()],
  define: { __VUE_OPTIONS_API__: "false" },
  build: {
    target: "es2022",
    // Nothing is inlined as data: the policy of the service lets fonts come only from files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" },
    chunkSizeWarningLimit: 600,
  },
  server: {
    // With `npm run dev` the pages come from here, and the data from a service that runs.
    proxy: {
      "/api": { target: service },
      "/readyz": { target: service },
      "/ws": { target: service, ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"] },
});

import "@fontsource-variable/inter/wght.css";
import "./styles/tokens.css";
import "./styles/base.css";
import { createApp } from "vue";
import App from "./App.vue";
import { start } from "./lib/socket";
import "./lib/theme";
import { router } from "./router";

start();
createApp(App).use(router).mount("#app");

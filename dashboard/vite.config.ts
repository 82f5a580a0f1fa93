import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** Relative addresses, so that the notifier or an ingress may serve the page under any path. */
export default defineConfig({
  base: "./",
  plugins: [react()],
  build: { target: "es2022", assetsInlineLimit: 0, reportCompressedSize: false },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});

import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const FIRST_LOAD_KB = 250;

/** Fails the build when a first visit would load more (fonts are compressed already and count as they are). */
function firstLoad(): Plugin {
  return {
    name: "first-load",
    apply: "build",
    writeBundle(_, bundle) {
      const sizes = Object.values(bundle).map((file) => {
        const content = Buffer.from(file.type === "chunk" ? file.code : file.source);
        return file.fileName.endsWith(".woff2") ? content.length : gzipSync(content, { level: 9 }).length;
      });
      const kilobytes = sizes.reduce((sum, size) => sum + size, 0) / 1024;
      const said = `first load ${kilobytes.toFixed(1)} KB, at most ${FIRST_LOAD_KB}`;
      if (kilobytes > FIRST_LOAD_KB) this.error(said);
      this.info(said);
    },
  };
}

/** Relative addresses, so that the notifier or an ingress may serve the page under any path. */
export default defineConfig({
  base: "./",
  plugins: [react(), firstLoad()],
  build: { target: "es2022", assetsInlineLimit: 0, reportCompressedSize: false },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});

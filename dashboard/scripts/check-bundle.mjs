/** Fails the build when what a first visit loads exceeds 250 KB gzip (fonts, already compressed, count as they are). */
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const LIMIT_BYTES = 250 * 1024;
const root = new URL("../dist/", import.meta.url).pathname;

function* files(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* files(path);
    else yield path;
  }
}

let total = 0;
for (const path of files(root)) {
  const content = readFileSync(path);
  const size = path.endsWith(".woff2") ? content.length : gzipSync(content, { level: 9 }).length;
  total += size;
  console.log(`${(size / 1024).toFixed(1).padStart(8)} KB  ${path.slice(root.length)}`);
}
console.log(`${(total / 1024).toFixed(1).padStart(8)} KB  first load (limit ${LIMIT_BYTES / 1024} KB)`);
if (total > LIMIT_BYTES) process.exit(1);

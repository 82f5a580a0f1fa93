/** The lock file pins by version and digest and names no registry, so that it works behind any mirror. */
import { readFileSync } from "node:fs";

const lock = JSON.parse(readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"));
const named = Object.entries(lock.packages).filter(([, entry]) => entry.resolved !== undefined);
const unpinned = Object.entries(lock.packages).filter(([path, entry]) => path !== "" && !entry.integrity);
for (const [path, entry] of named) console.error(`${path} names an address: ${entry.resolved}`);
for (const [path] of unpinned) console.error(`${path} has no digest`);
if (named.length + unpinned.length > 0) process.exit(1);
console.log(`package-lock.json: ${Object.keys(lock.packages).length - 1} packages, no address`);

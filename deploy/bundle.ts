/** Writes each program, and the Worker for Cloudflare, as a single file to `dist/`. */
import { bundle, programs } from "./programs.ts";

for (const { name } of programs) await bundle(`${name}.ts`, `dist/${name}.js`);
await bundle("deploy/cloudflare/worker.ts", "dist/worker.js", "browser");

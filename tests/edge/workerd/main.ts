/**
 * Runs `dist/worker.js` in workerd, with what `wrangler.jsonc` says and the settings of the variable
 * EDGE_SETTINGS (JSON), until SIGTERM. A program of its own, so that a test can end it like a machine;
 * with a deno.json of its own, as Deno fetches all packages of one before its first task, and workerd
 * is several times as large as what relay and agent need.
 *
 * A test Worker is in front of the bundle: `/restart/CLUSTER` resets that cluster's object, as
 * the platform does when it moves one.
 */
import { Miniflare } from "miniflare";
import { readWranglerConfig } from "../wrangler.ts";

const bundle = new URL("../../../dist/worker.js", import.meta.url);

const testWorker = `
import worker, { ClusterTunnel } from "./worker.js";
export class RestartableTunnel extends ClusterTunnel {
  constructor(state, bindings) {
    super(state, bindings);
    this.state = state;
  }
  fetch(request) {
    if (new URL(request.url).pathname === "/restart") this.state.abort("Restarted by a test");
    return super.fetch(request);
  }
}
export default {
  async fetch(request, bindings) {
    const [, cluster] = /^\\/restart\\/(.+)$/.exec(new URL(request.url).pathname) ?? [];
    if (cluster === undefined) return worker.fetch(request, bindings);
    const object = bindings.CLUSTER_TUNNEL.getByName(cluster);
    await object.fetch("http://object/restart").catch(() => {});
    return new Response("restarted");
  },
};`;

const { compatibility_date, compatibility_flags, durable_objects } = readWranglerConfig();
const [binding] = durable_objects.bindings;
if (binding?.name !== "CLUSTER_TUNNEL" || binding.class_name !== "ClusterTunnel") {
  throw new Error("wrangler.jsonc binds another object than the tests know");
}

const miniflare = new Miniflare({
  host: "127.0.0.1",
  port: Number(Deno.args[0] ?? 0),
  modules: [
    { type: "ESModule", path: "test_worker.js", contents: testWorker },
    { type: "ESModule", path: "worker.js", contents: await Deno.readTextFile(bundle) },
  ],
  compatibilityDate: compatibility_date,
  compatibilityFlags: [...compatibility_flags],
  durableObjects: { CLUSTER_TUNNEL: { className: "RestartableTunnel", useSQLite: true } },
  bindings: JSON.parse(Deno.env.get("EDGE_SETTINGS") ?? "{}"),
  cf: false,
});
const address = (await miniflare.ready).host;
console.error(JSON.stringify({ message: "Listening", listener: "edge", address }));

const stopped = Promise.withResolvers<void>();
Deno.addSignalListener("SIGTERM", stopped.resolve);
await stopped.promise;
await miniflare.dispose();
Deno.exit(0);

/** Records of bindings in a real bind9, with a cluster and a relay in this process. */
import { secrets } from "../../../lib/kube/resources.ts";
import { tunnelBindings, tunnels } from "../../../lib/operator/api/crds.ts";
import { dnsExchange } from "../../../lib/runtime/deno/dns_exchange.ts";
import { eventually } from "../../support/deadline.ts";
import { Cluster, route } from "../harness.ts";
import { Bind, hasBind, otherZone, zone } from "./bind.ts";

async function dnsCluster(bind: Bind, more: Record<string, unknown> = {}): Promise<Cluster> {
  const cluster = new Cluster();
  cluster.exchange = dnsExchange;
  const data = { keyname: btoa("culvert"), secret: btoa(bind.secret) };
  cluster.kube.put(secrets, { metadata: { name: "tsig", namespace: "apps" }, data });
  putDns(cluster, bind, more);
  return await Promise.resolve(cluster);
}

function putDns(cluster: Cluster, bind: Bind, more: Record<string, unknown> = {}): void {
  cluster.putTunnel({
    dns: {
      ...{ provider: "RFC2136", target: "relay.example.com", ttl: 60, zone },
      ...{ server: bind.server, secretRef: { name: "tsig" }, ...more },
    },
  });
}

async function digs(bind: Bind, name: string, type: string, expected: string): Promise<void> {
  let last = "";
  await eventually(
    async () => (last = await bind.dig(`${name}.${zone}`, type)) === expected,
    () => `${type} of ${name} to be "${expected}"; it is "${last}"`,
    60_000,
  );
}

function bindTest(name: string, test: (bind: Bind) => Promise<void>): void {
  Deno.test({
    name,
    ignore: !hasBind,
    async fn() {
      await using bind = await Bind.start();
      await test(bind);
    },
  });
}

bindTest(
  "a binding's hostname gets its record; a changed one loses the old; a deleted binding both",
  async (bind) => {
    const cluster = await dnsCluster(bind);
    cluster.putBinding("shop", [route("main", `shop.${zone}`)]);
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
    await digs(bind, "shop", "CNAME", "relay.example.com.");
    cluster.putBinding("shop", [route("main", `store.${zone}`)]);
    await digs(bind, "store", "CNAME", "relay.example.com.");
    await digs(bind, "shop", "CNAME", "");
    cluster.kube.remove(tunnelBindings, "apps", "shop");
    await eventually(
      () => cluster.kube.read(tunnelBindings, "apps", "shop") === undefined,
      "the binding to go",
    );
    await digs(bind, "store", "CNAME", "");
    await digs(bind, "_culvert.store", "TXT", "");
  },
);

bindTest(
  "a record of somebody else's is a conflict, a wrong key is refused, and neither blocks the route",
  async (bind) => {
    const cluster = await dnsCluster(bind);
    cluster.putBinding("taken", [route("main", `taken.${zone}`)]);
    cluster.putBinding("outside", [route("main", "shop.example.org")]);
    await using running = cluster.start();
    await cluster.condition(tunnelBindings, "taken", "DNSReady", "Conflict");
    await cluster.condition(tunnelBindings, "outside", "DNSReady", "NotInZone");
    await cluster.condition(tunnelBindings, "taken", "Programmed", "Programmed");
    await digs(bind, "taken", "A", "192.0.2.1");
    const wrong = btoa("x".repeat(32));
    const data = { keyname: btoa("culvert"), secret: btoa(wrong) };
    cluster.kube.put(secrets, { metadata: { name: "tsig", namespace: "apps" }, data });
    cluster.putBinding("late", [route("main", `late.${zone}`)]);
    await cluster.condition(tunnelBindings, "late", "DNSReady", "Refused");
    if (running.log.lines.some((line) => line.includes(wrong))) throw new Error("a key is logged");
  },
);

bindTest(
  "a record that was edited by hand stays when DNS is turned off; the claim goes",
  async (bind) => {
    const cluster = await dnsCluster(bind);
    cluster.putBinding("shop", [route("main", `shop.${zone}`), route("api", `api.${zone}`)]);
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
    const name = `shop.${zone}`;
    await bind.update([`update delete ${name} CNAME`, `update add ${name} 60 A 192.0.2.99`]);
    cluster.putTunnel({ dns: { provider: "None" } });
    await digs(bind, "_culvert.shop", "TXT", "");
    await digs(bind, "api", "CNAME", "");
    await digs(bind, "_culvert.api", "TXT", "");
    await digs(bind, "shop", "A", "192.0.2.99");
  },
);

bindTest("records stay when their name server is called by another address", async (bind) => {
  const cluster = await dnsCluster(bind);
  cluster.putBinding("shop", [route("main", `shop.${zone}`)]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const server = `localhost:${bind.port}`;
  const known = () => {
    const { dns = [] } = (cluster.kube.read(tunnelBindings, "apps", "shop")?.["status"] ?? {}) as {
      dns?: { server: string }[];
    };
    return dns.map((it) => it.server).join();
  };
  putDns(cluster, bind, { server });
  await eventually(() => known() === server, () => `one record at ${server}; ${known()}`, 60_000);
  await digs(bind, "shop", "CNAME", "relay.example.com.");
});

bindTest("records get a new zone although the old one's name server is away", async (bind) => {
  const cluster = await dnsCluster(bind, { zone: otherZone });
  cluster.putBinding("shop", [route("main", `shop.${otherZone}`)]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  let isAway = true;
  cluster.exchange = (server, message) =>
    isAway && server === bind.server
      ? Promise.reject(new Error("it is away"))
      : dnsExchange(server, message);
  putDns(cluster, bind, { server: `localhost:${bind.port}` });
  cluster.putBinding("shop", [route("main", `shop.${zone}`)]);
  await digs(bind, "shop", "CNAME", "relay.example.com.");
  isAway = false;
  await eventually(
    async () => await bind.dig(`shop.${otherZone}`, "CNAME") === "",
    "the old record to go",
    60_000,
  );
});

bindTest("a Tunnel and its namespace's key that go first leave no record", async (bind) => {
  const cluster = await dnsCluster(bind);
  cluster.putBinding("shop", [route("main", `shop.${zone}`)]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.kube.remove(secrets, "apps", "tsig");
  cluster.kube.remove(tunnels, "apps", "home");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await eventually(
    () => cluster.kube.read(tunnelBindings, "apps", "shop") === undefined,
    "the binding to go",
  );
  await digs(bind, "shop", "CNAME", "");
});

bindTest("a Tunnel that only adds records leaves them", async (bind) => {
  const cluster = await dnsCluster(bind, { policy: "UpsertOnly" });
  cluster.putBinding("shop", [route("main", `shop.${zone}`)]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await eventually(
    () => cluster.kube.read(tunnelBindings, "apps", "shop") === undefined,
    "the binding to go",
  );
  await digs(bind, "shop", "CNAME", "relay.example.com.");
});

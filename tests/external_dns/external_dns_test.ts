/**
 * The operator with a real external-dns before a real bind9. EXTERNAL_DNS_HOME says where external-dns
 * and its CRD are; needs KUBE_TOOLS too.
 */
import assert from "node:assert/strict";
import { services } from "../../lib/kube/resources.ts";
import { dnsEndpoints } from "../../lib/operator/dns/dns_endpoint.ts";
import { Bind, hasBind, zone } from "../operator/kube/bind.ts";
import {
  namespace,
  OperatorWorld,
  patienceMs,
  tunnelBindings,
  tunnels,
} from "../operator/kube/cluster.ts";
import { OwnKube } from "../operator/kube/own_kube.ts";
import { eventually } from "../support/deadline.ts";

const home = Deno.env.get("EXTERNAL_DNS_HOME");

/** External-dns, which looks at the cluster each second. */
function startExternalDns(kube: OwnKube, bind: Bind): AsyncDisposable {
  const process = new Deno.Command(`${home}/external-dns`, {
    args: [
      ...["--source=crd", "--provider=rfc2136", "--kubeconfig", kube.kubeconfig],
      ...["--rfc2136-host=127.0.0.1", `--rfc2136-port=${bind.port}`, `--rfc2136-zone=${zone}`],
      ...["--rfc2136-tsig-keyname=culvert", `--rfc2136-tsig-secret=${bind.secret}`],
      ...["--rfc2136-tsig-secret-alg=hmac-sha256", "--rfc2136-axfr"],
      ...["--policy=sync", "--registry=txt", "--txt-owner-id=test", "--interval=1s"],
      ...["--min-event-sync-interval=1s", "--metrics-address=127.0.0.1:0"],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  return {
    async [Symbol.asyncDispose]() {
      process.kill("SIGTERM");
      await process.status;
    },
  };
}

Deno.test({
  name: "a binding's hostname is in DNS by a real external-dns, and goes with the binding",
  ignore: home === undefined || !hasBind,
  async fn() {
    await using kube = await OwnKube.start();
    kube.startControllers(["garbage-collector-controller"]);
    await using bind = await Bind.start();
    await using world = await OperatorWorld.start(kube);
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel({
      dns: { provider: "ExternalDNS", target: "relay.example.com", ttl: 60 },
    });
    await world.client.apply(services, {
      metadata: { name: "web", namespace },
      spec: { ports: [{ name: "http", port: 80 }] },
    });
    const put = (hostname: string) =>
      world.client.apply(tunnelBindings, {
        metadata: { name: "shop", namespace },
        spec: {
          tunnelRef: { name: "main" },
          routes: [{
            name: "web",
            hostnames: [hostname],
            backend: { service: { name: "web", port: 80 } },
          }],
        },
      });
    const digs = async (name: string, expected: string, type = "CNAME") => {
      let last: string | undefined;
      await eventually(
        async () => (last = await bind.dig(`${name}.${zone}`, type)) === expected,
        () => `${name} to be "${expected}"; it is "${last}"`,
        patienceMs,
      );
    };

    const { metadata } = await put(`shop.${zone}`);
    await world.condition(tunnelBindings, "shop", "DNSReady", "CRDMissing");
    await world.condition(tunnelBindings, "shop", "Programmed", "Programmed");
    await world.condition(tunnels, "main", "Ready", "Ready");

    await world.apply(await Deno.readTextFile(`${home}/crd.yaml`));
    await world.condition(tunnelBindings, "shop", "DNSReady", "Pending");
    await using _externalDns = startExternalDns(kube, bind);
    await digs("shop", "relay.example.com.");
    await world.condition(tunnelBindings, "shop", "DNSReady", "RecordsMade");
    await world.condition(tunnelBindings, "shop", "Ready", "Ready");

    await put(`store.${zone}`);
    await digs("store", "relay.example.com.");
    await digs("shop", "");

    await world.putTunnel({ dns: { provider: "ExternalDNS", target: "192.0.2.7", ttl: 60 } });
    await digs("store", "192.0.2.7", "A");
    await digs("store", "", "CNAME");
    await world.condition(tunnelBindings, "shop", "DNSReady", "RecordsMade");

    await world.client.delete(tunnelBindings, { namespace, name: "shop" }, metadata.uid!);
    await digs("store", "", "A");
    const { items } = await world.client.list(dnsEndpoints, { namespace });
    assert.deepEqual(items, []);
  },
});

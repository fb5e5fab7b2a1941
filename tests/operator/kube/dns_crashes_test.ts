/** Operators that are killed while records in a real bind9 change. */
import { secrets } from "../../../lib/kube/resources.ts";
import { tunnelBindings } from "../../../lib/operator/api/crds.ts";
import { dnsEndpoints } from "../../../lib/operator/dns/dns_endpoint.ts";
import { dnsExchange } from "../../../lib/runtime/deno/dns_exchange.ts";
import {
  assertNothingLeft,
  assertSameEnd,
  isPrepared,
  isReady,
  type Story,
} from "../crash_stories.ts";
import { Cluster, route } from "../harness.ts";
import { Bind, hasBind, otherZone, zone } from "./bind.ts";

let clusters = 0;

/** Clusters that share a zone: the names of each have a label of its own. */
class Zones {
  readonly #bind: Bind;
  readonly #labels = new WeakMap<Cluster, string>();

  constructor(bind: Bind) {
    this.#bind = bind;
  }

  readonly cluster = (): Cluster => {
    const cluster = new Cluster();
    cluster.exchange = dnsExchange;
    this.#labels.set(cluster, `c${++clusters}`);
    const data = { keyname: btoa("culvert"), secret: btoa(this.#bind.secret) };
    cluster.kube.put(secrets, { metadata: { name: "tsig", namespace: "apps" }, data });
    return cluster;
  };

  /** As it is in names. */
  readonly label = (cluster: Cluster): string => `.${this.#labels.get(cluster)}.`;

  name(cluster: Cluster, name: string, at = zone): string {
    return `${name}${this.label(cluster)}${at}`;
  }

  /** The same name server at its other address. */
  get otherServer(): string {
    return `localhost:${this.#bind.port}`;
  }

  putTunnel(cluster: Cluster, dns: Record<string, unknown> = {}, name = "home"): void {
    cluster.putTunnel({
      dns: {
        ...{ provider: "RFC2136", target: "relay.example.com", zone },
        ...{ server: this.#bind.server, secretRef: { name: "tsig" }, ...dns },
      },
    }, name);
  }

  putBinding(
    cluster: Cluster,
    names: readonly string[],
    { tunnel = "home", at = zone } = {},
  ): void {
    const routes = names.map((name) => route(name, this.name(cluster, name, at)));
    cluster.putBinding("shop", routes, { name: tunnel });
  }

  /** All records of a cluster, without its label. */
  readonly records = async (cluster: Cluster): Promise<readonly string[]> => {
    const label = this.label(cluster);
    return (await this.#bind.transfer()).filter((record) => record.includes(label))
      .map((record) => record.replaceAll(label, ".")).sort();
  };
}

/** What a binding's status knows of its records. */
type Known = readonly {
  readonly name: string;
  readonly target: string;
  readonly owner: string;
  readonly zone: string;
  readonly server: string;
}[];

interface DnsStory {
  readonly act: (cluster: Cluster, zones: Zones) => void;
  readonly isDone: (known: Known, cluster: Cluster) => boolean;
}

const stories: Readonly<Record<string, DnsStory>> = {
  "the target of records changes": {
    act: (cluster, zones) => zones.putTunnel(cluster, { target: "other.example.com" }),
    isDone: (known) => known.length === 2 && known.every((it) => it.target === "other.example.com"),
  },
  "names become addresses": {
    act: (cluster, zones) => zones.putTunnel(cluster, { target: "192.0.2.8" }),
    isDone: (known) => known.length === 2 && known.every(({ target }) => target === "192.0.2.8"),
  },
  "a hostname changes": {
    act: (cluster, zones) => zones.putBinding(cluster, ["web", "store"]),
    isDone: (known) => known.length === 2 && known.some(({ name }) => name.startsWith("store.")),
  },
  "zone and hostnames change": {
    act(cluster, zones) {
      zones.putTunnel(cluster, { zone: otherZone });
      zones.putBinding(cluster, ["web", "store"], { at: otherZone });
    },
    isDone: (known) => known.length === 2 && known.every(({ zone }) => zone === otherZone),
  },
  "the name server gets another address": {
    act: (cluster, zones) => zones.putTunnel(cluster, { server: zones.otherServer }),
    isDone: (known) => known.length === 2 && known.every((it) => it.server.startsWith("localhost")),
  },
  "external-dns gets the records": {
    act(cluster, zones) {
      zones.putTunnel(cluster, { provider: "ExternalDNS" });
      cluster.hasExternalDns = true;
    },
    isDone: (known, { kube }) => known.length === 0 && kube.all(dnsEndpoints).length === 1,
  },
  "records are not wanted any more": {
    act: (cluster, zones) => zones.putTunnel(cluster, { provider: "None" }),
    isDone: (known) => known.length === 0,
  },
  "a binding goes to another Tunnel": {
    act(cluster, zones) {
      zones.putTunnel(cluster, {}, "other");
      zones.putBinding(cluster, ["web", "api"], { tunnel: "other" });
    },
    isDone: (known) => known.length === 2 && known.every(({ owner }) => owner.includes("/other,")),
  },
};

function knownOf({ kube }: Cluster): Known {
  const status = kube.read(tunnelBindings, "apps", "shop")?.["status"];
  return ((status ?? {}) as { dns?: Known }).dns ?? [];
}

Deno.test({
  name: "the operator is killed after any write while records in bind9 change",
  ignore: !hasBind,
  async fn(t) {
    await using bind = await Bind.start();
    for (const [name, { act, isDone }] of Object.entries(stories)) {
      const zones = new Zones(bind);
      const story: Story = {
        name,
        cluster: zones.cluster,
        before(cluster) {
          zones.putTunnel(cluster);
          zones.putBinding(cluster, ["web", "api"]);
        },
        isPrepared,
        act: (cluster) => act(cluster, zones),
        isDone: (cluster) => isReady(cluster) && isDone(knownOf(cluster), cluster),
        ownName: zones.label,
        outside: zones.records,
      };
      await t.step(`${name}: the end is the same`, () => assertSameEnd(story));
      await t.step(`${name}, and all is deleted: nothing is left`, () => assertNothingLeft(story));
    }
  },
});

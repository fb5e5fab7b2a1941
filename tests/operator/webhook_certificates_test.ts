/** The webhook's certificates: made, renewed and taken over, on a clock of the test's own. */
import assert from "node:assert/strict";
import { KubeClient, type KubeFetch } from "../../lib/kube/client.ts";
import { mutatingWebhooks, secrets } from "../../lib/kube/resources.ts";
import {
  factsOf,
  isIssuedBy,
  type KeyPair,
  makeAuthority,
} from "../../lib/operator/injection/authority.ts";
import {
  CertificateRotation,
  type CertificateSettings,
} from "../../lib/operator/injection/certificate_rotation.ts";
import { WebhookCertificate } from "../../lib/operator/injection/webhook_certificate.ts";
import {
  readKeys,
  trustedBy,
  trusting,
  type WebhookKeys,
} from "../../lib/operator/injection/webhook_secret.ts";
import { keptLog } from "../kube/kube_setup.ts";
import { FakeKube } from "../support/fake_kube.ts";

const dayMs = 24 * 3_600_000;
const minuteMs = 60_000;
const settings: CertificateSettings = {
  ...{ namespace: "ops", configuration: "culvert-operator" },
  ...{ authorityMs: 365 * dayMs, leafMs: 90 * dayMs },
};

/** An API server with the chart's configuration, the replica that leads, and one that follows. */
class World {
  readonly kube = new FakeKube([mutatingWebhooks, secrets]);
  readonly shown: KeyPair[] = [];
  readonly replica: WebhookCertificate;
  nowMs = Date.UTC(2026, 0, 1);
  /** Whether another replica has not taken the newest certificate yet. */
  isAnotherLate = false;
  #rotation: CertificateRotation;

  constructor() {
    this.putConfiguration("https://127.0.0.1:9443/mutate-pods");
    this.#rotation = this.rotation();
    this.replica = new WebhookCertificate({
      ...{ client: this.client(), settings, log: keptLog(), nowMs: () => this.nowMs },
      use: (leaf) => this.shown.push(leaf),
    });
  }

  client(fetch: KubeFetch = this.kube.fetch): KubeClient {
    return new KubeClient({ fetch, fieldManager: "culvert-operator" });
  }

  rotation(fetch?: KubeFetch): CertificateRotation {
    return new CertificateRotation({
      ...{ client: this.client(fetch), settings, log: keptLog(), nowMs: () => this.nowMs },
      allShow: async (_configuration, ca) =>
        !this.isAnotherLate && await isIssuedBy(this.shown.at(-1)?.cert ?? "", ca),
    });
  }

  putConfiguration(url: string): void {
    this.kube.put(mutatingWebhooks, {
      metadata: { name: "culvert-operator" },
      webhooks: [{ name: "inject.culvert.dev", clientConfig: { url } }],
    });
  }

  /** Another replica leads from now on. */
  changeLeader(): void {
    this.#rotation = this.rotation();
  }

  /** Both replicas look once; what is shown is trusted whenever somebody could ask. */
  async look(): Promise<void> {
    await this.#rotation.step();
    await this.assertTrusted();
    await this.replica.step();
    await this.assertTrusted();
  }

  async assertTrusted(): Promise<void> {
    const shown = this.shown.at(-1);
    if (!shown) return;
    const issued = await Promise.all(this.trusted.map((ca) => isIssuedBy(shown.cert, ca)));
    assert.ok(issued.includes(true), "the API server trusts what is shown");
    assert.ok(factsOf(shown.cert)!.toMs > this.nowMs, "it has not expired");
  }

  get keys(): WebhookKeys {
    return readKeys(this.kube.read(secrets, "ops", "culvert-operator-webhook"));
  }

  get trusted(): readonly string[] {
    return trustedBy(this.kube.read(mutatingWebhooks, undefined, "culvert-operator")!);
  }
}

Deno.test("CA, certificate and caBundle are made at once, and then nothing is written", async () => {
  const world = new World();
  assert.match(world.replica.fault ?? "", /no certificate/);
  await world.look();
  assert.equal(world.replica.fault, undefined);
  assert.deepEqual(factsOf(world.shown[0]!.cert)?.names, ["127.0.0.1"]);
  assert.equal(world.replica.expiresMs, world.nowMs + 90 * dayMs);
  const { length } = world.kube.writes;
  await world.look();
  assert.equal(world.kube.writes.length, length);
  assert.equal(world.shown.length, 1);
});

Deno.test("a certificate is renewed by its CA when a third of its life is left", async () => {
  const world = new World();
  await world.look();
  const { ca } = world.keys;
  world.nowMs += 59 * dayMs;
  await world.look();
  assert.equal(world.shown.length, 1);
  world.nowMs += 2 * dayMs;
  await world.look();
  assert.equal(world.shown.length, 2);
  assert.deepEqual(world.keys.ca, ca);
});

Deno.test("a new CA is trusted beside the old one, then signs, and then replaces it", async () => {
  const world = new World();
  await world.look();
  const old = world.keys.ca!.cert;
  world.nowMs += 200 * dayMs;
  world.shown.length = 0;
  await world.look();
  const shown = world.shown.at(-1)!;
  world.nowMs += 44 * dayMs;
  await world.look();
  const { ca, trusted } = world.keys;
  assert.notEqual(ca!.cert, old);
  assert.deepEqual(trusted, [ca!.cert, old]);
  assert.equal(world.shown.at(-1), shown, "API servers may not know the new CA yet");
  world.changeLeader();
  await world.look();
  world.nowMs += minuteMs / 2;
  await world.look();
  assert.equal(world.shown.at(-1), shown);
  world.isAnotherLate = true;
  world.nowMs += minuteMs;
  await world.look();
  assert.ok(await isIssuedBy(world.shown.at(-1)!.cert, ca!.cert));
  await world.look();
  assert.equal(world.trusted.length, 2, "a replica shows the old certificate");
  world.isAnotherLate = false;
  await world.look();
  assert.equal(world.trusted.length, 2, "a replica may be late though nobody has met it");
  world.nowMs += minuteMs;
  await world.look();
  assert.deepEqual(world.trusted, [ca!.cert]);
});

Deno.test("a leader that was overtaken can't have the API server forget its follower's CA", async () => {
  const world = new World();
  await world.look();
  world.kube.remove(secrets, "ops", "culvert-operator-webhook");
  const held = Promise.withResolvers<void>();
  const isHeld = Promise.withResolvers<void>();
  const slow = world.rotation(async (path, init) => {
    if (init.method === "PATCH") {
      isHeld.resolve();
      await held.promise;
    }
    return await world.kube.fetch(path, init);
  });
  const overtaken = assert.rejects(slow.step(), /the object has been modified/);
  await isHeld.promise;
  // The one that leads now starts from nothing again, and goes all the way.
  world.kube.remove(secrets, "ops", "culvert-operator-webhook");
  world.changeLeader();
  for (let look = 0; look < 3; look++) {
    await world.look();
    world.nowMs += 2 * minuteMs;
  }
  const { trusted } = world;
  held.resolve();
  await overtaken;
  assert.deepEqual(world.trusted, trusted);
  await world.assertTrusted();
});

Deno.test("certificates are good for API servers whose clocks are minutes behind", async () => {
  const world = new World();
  await world.look();
  for (const { cert } of [world.keys.ca!, world.shown[0]!]) {
    assert.ok(factsOf(cert)!.fromMs <= world.nowMs - 5 * minuteMs);
  }
  // A replica whose clock is wrong by more than a certificate's life does not say that it is ready.
  world.nowMs += 91 * dayMs;
  await world.replica.step();
  assert.match(world.replica.fault ?? "", /the certificate has expired/);
});

Deno.test("an old CA goes when it has expired, though a replica can't be asked", async () => {
  const world = new World();
  await world.look();
  world.isAnotherLate = true;
  for (let day = 0; day < 366; day += 10) {
    world.nowMs += 10 * dayMs;
    await world.look();
    world.nowMs += 2 * minuteMs;
    await world.look();
  }
  assert.equal(world.trusted.length, 1);
  assert.equal(world.replica.fault, undefined);
});

Deno.test("a deleted Secret is made anew, and what is shown meanwhile stays trusted", async () => {
  const world = new World();
  await world.look();
  const old = world.keys.ca!.cert;
  world.kube.remove(secrets, "ops", "culvert-operator-webhook");
  await world.look();
  const { ca } = world.keys;
  assert.notEqual(ca?.cert, old);
  assert.equal(world.shown.length, 1);
  world.nowMs += 2 * minuteMs;
  await world.look();
  assert.equal(world.shown.length, 2);
  world.nowMs += minuteMs;
  await world.look();
  assert.deepEqual(world.trusted, [ca!.cert]);
  assert.equal(world.replica.fault, undefined);
});

Deno.test("a replica whose certificate the API server does not trust is not ready", async () => {
  const world = new World();
  await world.look();
  const other = await makeAuthority({ fromMs: world.nowMs, toMs: world.nowMs + dayMs });
  const configuration = world.kube.read(mutatingWebhooks, undefined, "culvert-operator")!;
  const foreign = trusting(configuration, [other.cert]);
  await world.client().apply(mutatingWebhooks, foreign);
  await world.replica.step();
  assert.match(world.replica.fault ?? "", /no CA in the configuration's caBundle has issued/);
  await world.look();
  assert.equal(world.replica.fault, undefined);
  world.kube.remove(mutatingWebhooks, undefined, "culvert-operator");
  await world.replica.step();
  assert.match(world.replica.fault ?? "", /no MutatingWebhookConfiguration culvert-operator/);
});

Deno.test("a certificate with another key, or for another name, is not shown but replaced", async () => {
  const world = new World();
  await world.look();
  const { leaf, ca } = world.keys;
  const key = Object.entries({ "tls.key": btoa(ca!.key) });
  const secret = world.kube.read(secrets, "ops", "culvert-operator-webhook")!;
  const data = { ...secret["data"] as object, ...Object.fromEntries(key) };
  world.kube.put(secrets, { ...secret, data });
  await world.replica.step();
  assert.equal(world.shown.length, 1);
  await world.look();
  assert.notEqual(world.shown.at(-1)?.cert, leaf?.cert);
  world.putConfiguration("https://webhook.example.com/mutate-pods");
  await world.replica.step();
  assert.match(world.replica.fault ?? "", /is not for webhook.example.com/);
  await world.look();
  assert.deepEqual(factsOf(world.shown.at(-1)!.cert)?.names, ["webhook.example.com"]);
});

Deno.test("a leader that ends between any two writes is followed by one that goes on", async () => {
  for (let writes = 0; writes < 7; writes++) {
    const world = new World();
    let left = writes;
    const dying = world.rotation((path, init) => {
      if (init.method !== "GET" && left-- <= 0) return Promise.reject(new Error("It has ended"));
      return world.kube.fetch(path, init);
    });
    const step = () => dying.step().catch(() => {});
    await step();
    await world.replica.step();
    world.nowMs += 244 * dayMs;
    // Nobody led for so long: what is shown has expired.
    world.shown.length = 0;
    await step();
    world.nowMs += 2 * minuteMs;
    await step();
    for (let look = 0; look < 3; look++) {
      await world.look();
      world.nowMs += 2 * minuteMs;
    }
    assert.equal(world.replica.fault, undefined, `${writes} writes`);
    assert.deepEqual(world.trusted, [world.keys.ca!.cert], `${writes} writes`);
  }
});

/** RegistrationTokens: each has its token in a Secret, and all are the relay's admin tokens. */
import { isConflict } from "../../kube/errors.ts";
import { isOwnedBy, keyOf, type KubeObject } from "../../kube/objects.ts";
import { apiVersionOf, secrets } from "../../kube/resources.ts";
import { registrationTokens } from "../api/crds.ts";
import {
  type RegistrationTokenSpec,
  registrationTokenSpec,
  type RegistrationTokenStatus,
} from "../api/registration_token.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import { no, type Verdict, yes } from "../conditions.ts";
import { conditionsWithReady, writeStatus } from "../object_status.ts";
import { secretData, secretText } from "../secret_text.ts";
import {
  type AdminTokenEntry,
  entryOf,
  faultOf,
  isExpired,
  namesIn,
  ownTokenName,
} from "./admin_token_entries.ts";
import { inNamespace, type ManagementContext } from "./management_context.ts";
import {
  adminTokensKey,
  adminTokensSecretName,
  ForeignSecret,
  type MountedSecret,
  ownTokenSecretName,
  type RelaySecrets,
} from "./relay_secrets.ts";

const tokenKey = "token";
/** A token that has expired is looked at again within this time; timers hold no more. */
const maxWaitMs = 24 * 3_600_000;

/** How long to wait until tokens that were in no list are read, in milliseconds. */
const soonMs = 10;

/** A token, and what came of it. */
interface Found {
  readonly object: KubeObject;
  readonly spec: RegistrationTokenSpec | undefined;
  readonly token: string | undefined;
  readonly issued: Verdict;
}

/** Reconciles all tokens of a namespace together: they are in one file. */
export class RegistrationTokens {
  readonly #context: ManagementContext;
  readonly #relaySecrets: RelaySecrets;
  #ownToken: string | undefined;

  constructor(context: ManagementContext, relaySecrets: RelaySecrets) {
    this.#context = context;
    this.#relaySecrets = relaySecrets;
  }

  /** The operator's own token for the relay's admin API. */
  get ownToken(): string | undefined {
    return this.#ownToken;
  }

  /** @returns after how many milliseconds to look again */
  async reconcile(namespace: string): Promise<number | undefined> {
    const { caches, settings } = this.#context;
    const objects = inNamespace(caches.values("registrationTokens"), namespace)
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .sort((a, b) => a.metadata.name < b.metadata.name ? -1 : 1);
    const found: Found[] = [];
    for (const object of objects) found.push(await this.#issue(object));
    const isRelays = namespace === settings.namespace && settings.relayAdminUrl !== undefined;
    const own = isRelays ? [await this.#ownEntry()] : [];
    const entries = [...own, ...found.flatMap((it) => this.#entryOf(it))];
    const programmed = await this.#write(namespace, entries);
    if (!programmed) return soonMs;
    for (const it of found) await this.#writeStatus(it, programmed);
    if (objects.length === 0 && !isRelays) return undefined;
    return Math.min(settings.checkMs, ...found.map(({ spec }) => untilExpiryMs(spec)));
  }

  /** What registered clusters are to be like, by the name of the token. */
  specOf(name: string): RegistrationTokenSpec | undefined {
    const { caches, settings } = this.#context;
    const object = caches.get("registrationTokens", `${settings.namespace}/${name}`);
    return object && registrationTokenSpec.safeParse(object["spec"]).data;
  }

  /** @returns undefined if there are tokens that were not known yet */
  async #write(
    namespace: string,
    entries: readonly AdminTokenEntry[],
  ): Promise<Verdict | undefined> {
    const text = `${JSON.stringify(entries, undefined, 2)}\n`;
    try {
      const files = new Map([[adminTokensKey, text]]);
      const there = await this.#relaySecrets.read(namespace, adminTokensSecretName);
      if (there && await this.#findUnlisted(namespace, there, entries)) return undefined;
      await this.#relaySecrets.write(namespace, adminTokensSecretName, files, there);
      return yes("Written", `In Secret ${adminTokensSecretName}`);
    } catch (error) {
      if (error instanceof ForeignSecret) return no("Conflict", error.message);
      throw error;
    }
  }

  /** Looks for tokens that are in the file, and were in no list: see ClusterEntries. */
  async #findUnlisted(
    namespace: string,
    { files }: MountedSecret,
    entries: readonly AdminTokenEntry[],
  ): Promise<boolean> {
    const { caches, client } = this.#context;
    const kept = new Set(entries.map(({ name }) => name));
    let isFound = false;
    for (const name of namesIn(files.get(adminTokensKey))) {
      if (kept.has(name) || caches.get("registrationTokens", `${namespace}/${name}`)) continue;
      const object = await client.find(registrationTokens, { namespace, name });
      if (!object) continue;
      caches.learn("registrationTokens", object);
      isFound = true;
    }
    return isFound;
  }

  /** Makes the token once, and again if its Secret is deleted. */
  async #issue(object: KubeObject): Promise<Found> {
    const spec = registrationTokenSpec.safeParse(object["spec"]).data;
    const without = { object, spec, token: undefined };
    if (!spec) {
      return { ...without, issued: no("InvalidSpec", "The spec can't be read; upgrade the CRDs") };
    }
    const { name, namespace = "", uid = "" } = object.metadata;
    const fault = faultOf(name, spec);
    if (fault !== undefined) {
      return { ...without, spec: undefined, issued: no("InvalidSpec", fault) };
    }
    const at = { namespace, name: secretNameOf(name) };
    const there = await this.#context.client.find(secrets, at);
    if (there && !isOwnedBy(there, object)) {
      const message = `Secret ${at.name} is there already and belongs to somebody else`;
      return { ...without, issued: no("Conflict", message) };
    }
    const issued = yes("Issued", `In Secret ${at.name}`);
    const kept = secretText(there, tokenKey);
    if (kept !== undefined && kept !== "") return { ...without, token: kept, issued };
    const token = this.#context.newToken();
    await this.#context.client.apply(secrets, {
      metadata: {
        ...at,
        labels: { [managedByLabel]: manager },
        ownerReferences: [{
          apiVersion: apiVersionOf(registrationTokens),
          kind: registrationTokens.kind,
          ...{ name, uid },
        }],
      },
      type: "Opaque",
      data: secretData({ [tokenKey]: token }),
    });
    return { ...without, token, issued };
  }

  /** The entry of the operator's own token, with which it sees who has registered, and accepts clusters. */
  async #ownEntry(): Promise<AdminTokenEntry> {
    const { client, settings: { namespace }, newToken, digest } = this.#context;
    const at = { namespace, name: ownTokenSecretName };
    const there = await client.find(secrets, at);
    if (there && there.metadata.labels?.[managedByLabel] !== manager) {
      throw new ForeignSecret(`Secret ${namespace}/${ownTokenSecretName} is not the operator's`);
    }
    let token = secretText(there, tokenKey);
    if (token === undefined || token === "") {
      token = newToken();
      await client.apply(secrets, {
        metadata: { ...at, labels: { [managedByLabel]: manager } },
        type: "Opaque",
        data: secretData({ [tokenKey]: token }),
      });
    }
    this.#ownToken = token;
    const everything = { clusters: ["*"], hostnames: ["*"] };
    return { name: ownTokenName, tokenSha256: digest(token), ...everything };
  }

  #entryOf({ object, spec, token }: Found): AdminTokenEntry[] {
    if (!spec || token === undefined) return [];
    return [entryOf(object.metadata.name, spec, this.#context.digest(token))];
  }

  async #writeStatus({ object, spec, token, issued }: Found, programmed: Verdict): Promise<void> {
    const { name, generation } = object.metadata;
    const used = spec && this.#used(object);
    const status: RegistrationTokenStatus = {
      ...generation !== undefined && { observedGeneration: generation },
      ...token !== undefined && { secretRef: { name: secretNameOf(name), key: tokenKey } },
      ...used !== undefined && { used },
    };
    const verdicts = {
      Issued: issued,
      ...token !== undefined && { Programmed: programmed },
      ...spec && { Usable: usability(spec, used) },
    };
    try {
      await writeStatus(this.#context, registrationTokens, "registrationTokens", object, {
        ...status,
        conditions: conditionsWithReady(verdicts, object),
      });
    } catch (error) {
      // It was deleted or changed meanwhile: that change is worked on next.
      if (!isConflict(error)) throw error;
    }
  }

  /** Undefined where the relay can't be asked. */
  #used({ metadata }: KubeObject): number | undefined {
    const { view, settings } = this.#context;
    const { used } =
      (this.#context.caches.get("registrationTokens", keyOf(metadata))?.["status"] ?? {}) as {
        used?: number;
      };
    if (!view || metadata.namespace !== settings.namespace) return undefined;
    if (view.fault !== undefined) return used;
    let count = 0;
    for (const { registeredBy } of view.clusters.values()) {
      if (registeredBy === metadata.name) count++;
    }
    return count;
  }
}

function secretNameOf(name: string): string {
  return `${name}-registration`;
}

function untilExpiryMs(spec: RegistrationTokenSpec | undefined): number {
  if (spec?.expires === undefined || isExpired(spec)) return Infinity;
  return Math.min(maxWaitMs, Date.parse(spec.expires) - Date.now() + 10);
}

function usability(spec: RegistrationTokenSpec, used: number | undefined): Verdict {
  if (isExpired(spec)) return no("Expired", `The token has expired, at ${spec.expires}`);
  const { maxClusters } = spec;
  if (maxClusters === undefined || used === undefined || used < maxClusters) return yes("Usable");
  return no("UsedUp", `${used} of ${maxClusters} clusters are registered`);
}

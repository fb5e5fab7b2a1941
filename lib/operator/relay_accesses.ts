/** How each tunnel reaches its relay's admin API: endpoint, token and CA, as they are now. */
import type { KubeClient } from "../kube/client.ts";
import type { KubeObject } from "../kube/objects.ts";
import { configMaps, namespaces, secrets } from "../kube/resources.ts";
import type { CaRef, TokenRef } from "./api/tunnel.ts";
import type { RelayAccess } from "./relay_api.ts";
import type { Tunnel } from "./tunnels.ts";

/** An access, or why there is none. */
export type FoundAccess =
  | { readonly access: RelayAccess; readonly owner: string }
  | { readonly fault: { readonly reason: string; readonly message: string } };

/** Reads Secrets and ConfigMaps by name; there is no right to list them. */
export class RelayAccesses {
  readonly #client: KubeClient;
  /**
   * The last access of each tunnel: when a namespace is deleted, the Secret with the token may go
   * before what it is needed for.
   */
  readonly #last = new Map<string, { access: RelayAccess; owner: string }>();
  /** By the tunnel's key: its uid, and the owner of its entries. */
  readonly #owners = new Map<string, { uid: string | undefined; owner: string }>();

  /** Changes with {@link all}. */
  version = 0;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  /** The access of a tunnel that is registered through the API. */
  async find(tunnel: Tunnel): Promise<FoundAccess> {
    const api = tunnel.spec?.relay.registration.api;
    const last = this.#last.get(tunnel.key);
    if (!api) return last ?? fault("NoApi", "The tunnel is not registered through the admin API");
    const token = await this.token(tunnel.home, api.tokenRef);
    const ca = api.caRef ? await this.text(tunnel.home, api.caRef) : undefined;
    const isLeaving = tunnel.isDeleted && last !== undefined;
    if (token === undefined) {
      const { name, key } = api.tokenRef;
      return isLeaving
        ? last
        : fault("TokenMissing", `There is no Secret ${tunnel.home}/${name} with the key ${key}`);
    }
    if (api.caRef && ca === undefined) {
      const { kind, name, key } = api.caRef;
      return isLeaving
        ? last
        : fault("CaMissing", `There is no ${kind} ${tunnel.home}/${name} with the key ${key}`);
    }
    const found = {
      access: {
        endpoint: api.endpoint.replace(/\/+$/, ""),
        token,
        ...ca !== undefined && { caPem: ca },
      },
      owner: await this.ownerOf(tunnel),
    };
    if (JSON.stringify(last) !== JSON.stringify(found)) this.version++;
    this.#last.set(tunnel.key, found);
    return found;
  }

  /** The access that a tunnel had, which need not be there any more. */
  last(tunnelKey: string): { access: RelayAccess; owner: string } | undefined {
    return this.#last.get(tunnelKey);
  }

  /** The accesses of all tunnels. */
  *all(): Generator<RelayAccess> {
    for (const { access } of this.#last.values()) yield access;
  }

  /** A tunnel is gone, and nothing of it is left at the relay. */
  forget(tunnelKey: string): void {
    this.version++;
    this.#last.delete(tunnelKey);
    this.#owners.delete(tunnelKey);
  }

  /** The text of a Secret's key, without white space at its ends. */
  async token(namespace: string, { name, key }: TokenRef): Promise<string | undefined> {
    const secret = await this.#client.find(secrets, { namespace, name });
    const text = secretText(secret, key)?.trim();
    return text === "" ? undefined : text;
  }

  /** The text of a CA. */
  async text(namespace: string, { kind, name, key }: CaRef): Promise<string | undefined> {
    if (kind === "Secret") {
      return secretText(await this.#client.find(secrets, { namespace, name }), key);
    }
    const object = await this.#client.find(configMaps, { namespace, name });
    return (object?.["data"] as Record<string, string> | undefined)?.[key];
  }

  /**
   * Who owns a tunnel's entries at the relay. A Tunnel that is made anew in the same namespace owns
   * what the one before it has left; one of the same name in another cluster does not.
   */
  async ownerOf({ key, object, home, resource, name }: Tunnel): Promise<string> {
    const { uid } = object.metadata;
    const known = this.#owners.get(key);
    if (known?.uid === uid && known) return known.owner;
    const { metadata } = await this.#client.get(namespaces, { name: home });
    const owner = `${metadata.uid}/${resource.kind}/${name}`;
    this.#owners.set(key, { uid, owner });
    return owner;
  }
}

function fault(reason: string, message: string): FoundAccess {
  return { fault: { reason, message } };
}

/** A key of a Secret as text. */
export function secretText(secret: KubeObject | undefined, key: string): string | undefined {
  const data = (secret?.["data"] ?? {}) as Readonly<Record<string, string>>;
  const encoded = data[key];
  if (encoded === undefined) return undefined;
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}

/** What routes take from ConfigMaps and Secrets: CAs of Services, credentials for them, callers' tokens. */
import { MIN_TOKEN_CHARACTERS } from "../../config/entries/token_schemas.ts";
import type { KubeClient } from "../../kube/client.ts";
import { isForbidden } from "../../kube/errors.ts";
import { messageOf } from "../../message_of.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { configMaps, type Resource, secrets } from "../../kube/resources.ts";
import { useLabel } from "../api/schema.ts";
import { no, unknown, type Verdict } from "../conditions.ts";
import type { Digest } from "../digest.ts";
import type { NamedText, TextPath } from "../named_texts.ts";
import { bearerFault, dataValue, secretText } from "../secret_text.ts";

/** The longest CA bundle, in characters; public CAs together have 200 Ki. */
const maxCaCharacters = 256 * 1_024;

/** Why there is no CA yet. */
export function caNotRead({ namespace, name }: TextPath): Verdict {
  return no("CaNotFound", `ConfigMap ${namespace}/${name} has not been read yet`);
}

/** Why there is no credential yet. */
export function credentialNotRead({ namespace, name }: TextPath): Verdict {
  return no("CredentialNotFound", `Secret ${namespace}/${name} has not been read yet`);
}

/** Why there is no token of callers yet. */
export function callerTokenNotRead({ namespace, name }: TextPath): Verdict {
  return no("TokenNotFound", `Secret ${namespace}/${name} has not been read yet`);
}

/** Why there may be a CA, and what it is can't be said. */
export function caUnreadable({ namespace, name }: TextPath, reason: string): Verdict {
  return heldUnreadable("CaUnreadable", `ConfigMap ${namespace}/${name}`, reason);
}

/** Why there may be a credential, and what it is can't be said. */
export function credentialUnreadable({ namespace, name }: TextPath, reason: string): Verdict {
  return heldUnreadable("CredentialUnreadable", `Secret ${namespace}/${name}`, reason);
}

/** Why there may be a token of callers, and what it is can't be said. */
export function callerTokenUnreadable({ namespace, name }: TextPath, reason: string): Verdict {
  return unknown("TokenUnreadable", `Secret ${namespace}/${name} can't be read: ${reason}`);
}

function heldUnreadable(reason: string, title: string, why: string): Verdict {
  return unknown(reason, `${title} can't be read, and the route stays as it is: ${why}`);
}

/**
 * Reads the CA of a Service's certificate. Agents refuse a table with a CA that they can't use, so such
 * a CA must not get into it: it would block the routes of others.
 *
 * @param faultOf What is wrong with the text, as a relative clause.
 * @throws {KubeError}
 */
export async function readCa(
  client: KubeClient,
  path: TextPath,
  faultOf: (text: string) => string | undefined,
): Promise<NamedText> {
  return await read(client, configMaps, path, (object) => {
    const text = dataValue(object, path.key);
    if (text === undefined) return { fault: no("CaNotFound", missing("ConfigMap", path)) };
    const fault = text.length > maxCaCharacters
      ? `which has more than ${maxCaCharacters} characters`
      : faultOf(text);
    if (fault === undefined) return { text };
    const { namespace, name, key } = path;
    const what = `ConfigMap ${namespace}/${name} has no CA in the key ${key}, ${fault}`;
    return { fault: no("CaInvalid", what) };
  });
}

/**
 * Reads a credential for a Service. What is wrong with it is said without it.
 *
 * @throws {KubeError}
 */
export async function readCredential(client: KubeClient, path: TextPath): Promise<NamedText> {
  return await readToken(client, path, {
    ...{ user: "routes", notFound: "CredentialNotFound", invalid: "CredentialInvalid" },
    textOf: (text) => text.trim(),
    faultOf: bearerFault,
  });
}

/**
 * Reads the digest of a token of callers: the token itself is not kept.
 *
 * @throws {KubeError}
 */
export async function readCallerToken(
  client: KubeClient,
  path: TextPath,
  digest: Digest,
): Promise<NamedText> {
  const found = await readToken(client, path, {
    ...{ user: "AccessPolicies", notFound: "TokenNotFound", invalid: "TokenInvalid" },
    textOf: (text) => text,
    faultOf: callerTokenFault,
  });
  return "fault" in found ? found : { text: digest(found.text) };
}

/** What is read as a token, and how its faults are told. */
interface TokenUse {
  /** Whom the label lets use it. */
  readonly user: string;
  readonly notFound: string;
  readonly invalid: string;
  readonly textOf: (text: string) => string;
  readonly faultOf: (text: string) => string | undefined;
}

async function readToken(client: KubeClient, path: TextPath, use: TokenUse): Promise<NamedText> {
  return await read(client, secrets, path, (object) => {
    const title = `Secret ${path.namespace}/${path.name}`;
    if (object && object.metadata.labels?.[useLabel] !== "true") {
      const message = `${title} needs the label ${useLabel}=true, which lets ${use.user} use it`;
      return { fault: no("RefNotPermitted", message) };
    }
    const found = secretText(object, path.key);
    if (found === undefined) return { fault: no(use.notFound, missing("Secret", path)) };
    const text = use.textOf(found);
    const fault = use.faultOf(text);
    if (fault === undefined) return { text };
    return { fault: no(use.invalid, `Key ${path.key} of ${title}: the token ${fault}`) };
  });
}

/**
 * What completes "the token …"; holds nothing of it. Callers use the same Secret, and a header with a
 * line break is refused or sent without it by their programs.
 */
function callerTokenFault(text: string): string | undefined {
  const bare = text.trim();
  if (bare === text || bare === "") {
    const fault = bearerFault(bare);
    if (fault !== undefined || text.length >= MIN_TOKEN_CHARACTERS) return fault;
    return `has fewer than ${MIN_TOKEN_CHARACTERS} characters, so that it can be guessed`;
  }
  return /[\r\n]$/.test(text)
    ? "ends with a line break; leave it out"
    : "has white space around it; leave it out";
}

function missing(kind: string, { namespace, name, key }: TextPath): string {
  return `There is no ${kind} ${namespace}/${name} with the key ${key}`;
}

/** What an object that may be read comes to; undefined where there is none. */
async function read(
  client: KubeClient,
  resource: Resource,
  { namespace, name }: TextPath,
  textOf: (object: KubeObject | undefined) => NamedText,
): Promise<NamedText> {
  try {
    return textOf(await client.find(resource, { namespace, name }));
  } catch (error) {
    if (!isForbidden(error)) throw error;
    const title = `${resource.kind} ${namespace}/${name}`;
    return { fault: no("RefNotPermitted", `${title} may not be read: ${messageOf(error)}`) };
  }
}

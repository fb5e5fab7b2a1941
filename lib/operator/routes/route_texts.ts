/** What routes take from ConfigMaps and Secrets: CAs of Services, and credentials for them. */
import { tokenFault } from "../../domain/token.ts";
import type { KubeClient } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { configMaps, type Resource, secrets } from "../../kube/resources.ts";
import { useLabel } from "../api/schema.ts";
import { no, unknown, type Verdict } from "../conditions.ts";
import type { NamedText, TextPath } from "./named_texts.ts";
import { dataValue, secretText } from "../secret_text.ts";

/** The longest credential, in characters: it is a part of each request's head. */
const maxCredentialCharacters = 4_096;

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

/** Why there may be a CA, and what it is can't be said. */
export function caUnreadable({ namespace, name }: TextPath, reason: string): Verdict {
  return unreadable("CaUnreadable", `ConfigMap ${namespace}/${name}`, reason);
}

/** Why there may be a credential, and what it is can't be said. */
export function credentialUnreadable({ namespace, name }: TextPath, reason: string): Verdict {
  return unreadable("CredentialUnreadable", `Secret ${namespace}/${name}`, reason);
}

function unreadable(reason: string, title: string, why: string): Verdict {
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
  return await read(client, secrets, path, (object) => {
    const title = `Secret ${path.namespace}/${path.name}`;
    if (object && object.metadata.labels?.[useLabel] !== "true") {
      const message = `${title} needs the label ${useLabel}=true, which lets routes use it`;
      return { fault: no("RefNotPermitted", message) };
    }
    const text = secretText(object, path.key)?.trim();
    if (text === undefined) return { fault: no("CredentialNotFound", missing("Secret", path)) };
    const fault = credentialFault(text);
    if (fault === undefined) return { text };
    return { fault: no("CredentialInvalid", `Key ${path.key} of ${title}: the token ${fault}`) };
  });
}

/** What completes "the token …"; holds nothing of it. */
function credentialFault(text: string): string | undefined {
  if (text === "") return "is empty";
  const fault = tokenFault(text);
  if (fault !== undefined) return fault;
  if (text.length > maxCredentialCharacters) {
    return `has more than ${maxCredentialCharacters} characters`;
  }
  return /^[\x21-\x7e]+$/.test(text)
    ? undefined
    : "must be one token of visible ASCII characters, without spaces and line breaks within";
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
    if (!(error instanceof KubeError) || error.status !== 403) throw error;
    const title = `${resource.kind} ${namespace}/${name}`;
    return { fault: no("RefNotPermitted", `${title} may not be read: ${error.message}`) };
  }
}

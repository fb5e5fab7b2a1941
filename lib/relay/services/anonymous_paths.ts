/** Paths of a service that anybody may use. */
import type { Service } from "../../domain/service.ts";

/**
 * Whether a path is one that anybody may use. It is compared as it was sent, without its query: the
 * target gets it as it was sent too, and one that it might take for another is not let in.
 */
export function isAnonymous({ anonymousPaths }: Service, target: string): boolean {
  if (!anonymousPaths || anonymousPaths.length === 0) return false;
  const path = /^[^?]*/.exec(target)![0];
  if (isAmbiguous(path)) return false;
  return anonymousPaths.some((allowed) =>
    allowed.endsWith("/") ? path.startsWith(allowed) : path === allowed
  );
}

/** Dot segments, empty segments, parameters, and all that has to be decoded. */
function isAmbiguous(path: string): boolean {
  return /[%;#\\]|\/\/|\/\.{1,2}(?:\/|$)/.test(path);
}

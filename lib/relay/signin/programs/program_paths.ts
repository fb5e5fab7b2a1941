/** Where programs and their users come, on every host. Apart from their pages, which the edge has not. */

/** Where a program sends its user's browser. */
export const authorizePath = "/.culvert/authorize";
/** Where it gets tokens, and ends them. */
export const tokenPath = "/.culvert/token";
export const revokePath = "/.culvert/revoke";
/** Where it gets a code that its user types elsewhere. */
export const deviceAuthorizationPath = "/.culvert/device_authorization";
/** Where the user types that; on the login host alone. */
export const devicePath = "/.culvert/device";

/** All paths of these at a service's host. */
export const programPaths: readonly string[] = [
  ...[authorizePath, tokenPath, revokePath, deviceAuthorizationPath],
];

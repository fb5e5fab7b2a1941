/** Comparing secrets so that the time taken says nothing of how much of a guess was right. */

/** Compares all of the secret, whatever was given. */
export function isEqualInConstantTime(given: string, secret: string): boolean {
  let difference = given.length ^ secret.length;
  for (let index = 0; index < secret.length; index++) {
    difference |= secret.charCodeAt(index) ^ given.charCodeAt(index % Math.max(1, given.length));
  }
  return difference === 0;
}

import { useEffect } from "react";

/** The tab of the browser says how many runs are open. */
export function useTitle(open: number): void {
  useEffect(() => {
    document.title = open > 0 ? `${open} open · Runtide` : "Runtide";
  }, [open]);
}

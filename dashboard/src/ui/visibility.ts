import { type RefCallback, useCallback, useEffect, useRef, useState } from "react";

/** A mark at the top of a list, and whether the reader has scrolled past it. */
export function useScrolledPast(): readonly [RefCallback<HTMLElement>, boolean] {
  const [past, setPast] = useState(false);
  const mark = useCallback((element: HTMLElement | null) => {
    if (element === null) return;
    const observer = new IntersectionObserver(([entry]) => {
      if (entry !== undefined) setPast(!entry.isIntersecting && entry.boundingClientRect.top < 0);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [mark, past];
}

const SETTLE_MS = 150;

/** For rows with `data-run-id`: reports which of them are on the screen, once scrolling has settled. */
export function useInView(onChange: (runIds: string[]) => void): RefCallback<HTMLElement> {
  const visible = useRef(new Set<string>());
  const observer = useRef<IntersectionObserver | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const report = useRef(onChange);
  useEffect(() => {
    report.current = onChange;
  }, [onChange]);

  const settle = useCallback(() => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => report.current([...visible.current]), SETTLE_MS);
  }, []);

  return useCallback(
    (element: HTMLElement | null) => {
      if (element === null) return;
      const id = element.dataset["runId"] ?? "";
      observer.current ??= new IntersectionObserver((entries) => {
        for (const entry of entries) {
          const runId = (entry.target as HTMLElement).dataset["runId"] ?? "";
          if (entry.isIntersecting) visible.current.add(runId);
          else visible.current.delete(runId);
        }
        settle();
      });
      observer.current.observe(element);
      return () => {
        observer.current?.unobserve(element);
        visible.current.delete(id);
        settle();
      };
    },
    [settle],
  );
}

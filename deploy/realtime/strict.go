package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Reading a configuration strictly: every key of the file and every CENTRIFUGO_* variable must name a field of
// Config, exactly and in its case. Messages name the key, never a value that may be a secret.

// Duration is written as in Centrifugo: "10m", "720h".
type Duration time.Duration

const environmentPrefix = "CENTRIFUGO_"

func readJSON(config *Config, text []byte) error {
	document, err := decodeJSON(text)
	if err != nil {
		return err
	}
	return assign(reflect.ValueOf(config).Elem(), document, "")
}

// readEnvironment applies NAME=value pairs; those without the prefix are none of its business.
func readEnvironment(config *Config, environ []string) error {
	fields := map[string]reflect.Value{}
	paths := map[string]string{}
	eachLeaf(reflect.ValueOf(config).Elem(), "", func(path string, field reflect.Value) {
		name := environmentName(path)
		fields[name], paths[name] = field, path
	})
	var problems []error
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, environmentPrefix) {
			continue
		}
		field, known := fields[name]
		if !known {
			problems = append(problems, fmt.Errorf("unknown variable %s in the environment", name))
			continue
		}
		value, err := fromText(field.Type(), text)
		if err == nil {
			err = assign(field, value, paths[name])
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

func environmentName(path string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// eachLeaf visits every settable key; a list is one leaf.
func eachLeaf(v reflect.Value, path string, visit func(path string, field reflect.Value)) {
	if v.Kind() != reflect.Struct {
		visit(path, v)
		return
	}
	for i := range v.NumField() {
		eachLeaf(v.Field(i), join(path, v.Type().Field(i).Tag.Get("json")), visit)
	}
}

// fromText turns the text of a variable into what JSON would have held: lists of words by spaces, lists of
// objects as JSON.
func fromText(t reflect.Type, text string) (any, error) {
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return decodeJSON([]byte(text))
	case t.Kind() == reflect.Slice:
		words := []any{}
		for _, word := range strings.Fields(text) {
			words = append(words, word)
		}
		return words, nil
	case t.Kind() == reflect.Bool:
		value, err := strconv.ParseBool(text)
		if err != nil {
			return nil, errors.New("want true or false")
		}
		return value, nil
	case t.Kind() == reflect.Int:
		return json.Number(text), nil
	default:
		return text, nil
	}
}

// assign puts a decoded JSON value into a field and reports every key that has no field.
func assign(field reflect.Value, value any, path string) error {
	wrong := func(want string) error { return fmt.Errorf("%s: want %s", path, want) }
	if field.Type() == reflect.TypeFor[Duration]() {
		text, _ := value.(string)
		span, err := time.ParseDuration(text)
		if err != nil {
			return wrong(`a duration such as "10m"`)
		}
		field.SetInt(int64(span))
		return nil
	}
	switch field.Kind() {
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			return wrong("an object")
		}
		known := map[string]reflect.Value{}
		for i := range field.NumField() {
			known[field.Type().Field(i).Tag.Get("json")] = field.Field(i)
		}
		var problems []error
		for _, key := range slices.Sorted(maps.Keys(object)) {
			if target, ok := known[key]; ok {
				problems = append(problems, assign(target, object[key], join(path, key)))
			} else {
				problems = append(problems, fmt.Errorf("unknown key %s", join(path, key)))
			}
		}
		return errors.Join(problems...)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			return wrong("a list")
		}
		field.Set(reflect.MakeSlice(field.Type(), len(list), len(list)))
		var problems []error
		for i, item := range list {
			problems = append(problems, assign(field.Index(i), item, fmt.Sprintf("%s[%d]", path, i)))
		}
		return errors.Join(problems...)
	case reflect.String:
		text, ok := value.(string)
		if !ok {
			return wrong("a string")
		}
		field.SetString(text)
	case reflect.Bool:
		flag, ok := value.(bool)
		if !ok {
			return wrong("true or false")
		}
		field.SetBool(flag)
	case reflect.Int:
		number, _ := value.(json.Number)
		whole, err := strconv.Atoi(number.String())
		if err != nil {
			return wrong("a whole number")
		}
		field.SetInt(int64(whole))
	default:
		panic("config field of unsupported kind: " + path)
	}
	return nil
}

func decodeJSON(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("not JSON: something follows the document")
	}
	return document, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
